//! A port: a stream, sink, reader and writer that notes where it is asked, with the methods of
//! `futures`' traits.

use std::fmt::Debug;
use std::io::{self, IoSlice, IoSliceMut, SeekFrom};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};

use aiocontextvars::{TaskContext, WithContext};
use futures::io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite};
use futures::sink::Sink;
use futures::stream::{FusedStream, Stream};

use crate::ID;

/// Does at once whatever it is asked to, notes the context that it was asked in, and counts there.
#[derive(Debug, Default)]
pub(crate) struct Port {
    pub(crate) seen: Seen,
    pub(crate) ended: bool,
}

/// The contexts, in which something was done, by their [`ID`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<Option<u64>>>>);

impl Seen {
    fn push(&self, id: Option<u64>) {
        self.0.lock().unwrap().push(id);
    }

    /// What has been seen since the last time.
    pub(crate) fn take(&self) -> Vec<Option<u64>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Port {
    pub(crate) fn note(&self) {
        let id = ID.get();
        self.seen.push(id);
        ID.set(id.unwrap_or(0) + 1);
    }

    pub(crate) fn done<E>(&self) -> Poll<Result<(), E>> {
        self.note();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.note();
    }
}

impl Stream for Port {
    type Item = u64;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<Option<u64>> {
        self.note();
        self.ended = true;
        Poll::Ready(Some(5))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (1, Some(3))
    }
}

impl FusedStream for Port {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl Sink<u64> for Port {
    type Error = u64;

    fn poll_ready(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<Result<(), u64>> {
        self.done()
    }

    fn start_send(self: Pin<&mut Self>, item: u64) -> Result<(), u64> {
        self.note();
        Err(item)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<Result<(), u64>> {
        self.note();
        Poll::Ready(Err(8))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<Result<(), u64>> {
        self.note();
        Poll::Ready(Err(9))
    }
}

impl AsyncRead for Port {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.note();
        buffer[0] = 1;
        Poll::Ready(Ok(1))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.note();
        buffers.iter_mut().for_each(|buffer| buffer[0] = 2);
        Poll::Ready(Ok(buffers.len()))
    }
}

impl AsyncBufRead for Port {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.note();
        Poll::Ready(Ok(&[1, 2, 3]))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.note();
        self.ended = amount == 3;
    }
}

impl AsyncSeek for Port {
    fn poll_seek(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        position: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        self.note();
        let SeekFrom::Start(position) = position else {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        };
        Poll::Ready(Ok(position + 1))
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.note();
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.note();
        Poll::Ready(Ok(buffers.len() * 10))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        self.done()
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        self.done()
    }
}

/// A method that waits for its context, with its name and what it gives.
pub(crate) type Row<C> = (&'static str, Method<C>, &'static str);

type Method<C> = fn(Pin<&mut WithContext<Port, C>>, &mut task::Context<'_>) -> Poll<String>;

pub(crate) fn text(result: Poll<impl Debug>) -> Poll<String> {
    result.map(|result| format!("{result:?}"))
}

/// The methods that wait, of `futures`' traits.
pub(crate) fn methods<C: TaskContext>() -> [Row<C>; 12] {
    [
        ("poll_next", |port, cx| text(port.poll_next(cx)), "Some(5)"),
        (
            "poll_ready",
            |port, cx| text(Sink::poll_ready(port, cx)),
            "Ok(())",
        ),
        (
            "Sink::poll_flush",
            |port, cx| text(Sink::poll_flush(port, cx)),
            "Err(8)",
        ),
        (
            "Sink::poll_close",
            |port, cx| text(Sink::poll_close(port, cx)),
            "Err(9)",
        ),
        (
            "poll_read",
            |port, cx| {
                let mut buffer = [0; 2];
                let read = port.poll_read(cx, &mut buffer);
                text(read.map(|read| (read.unwrap(), buffer)))
            },
            "(1, [1, 0])",
        ),
        (
            "poll_read_vectored",
            |port, cx| {
                let (mut first, mut second) = ([0; 2], [0; 2]);
                let buffers = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
                let read = port.poll_read_vectored(cx, buffers);
                text(read.map(|read| (read.unwrap(), first, second)))
            },
            "(2, [2, 0], [2, 0])",
        ),
        (
            "poll_write",
            |port, cx| text(port.poll_write(cx, &[0; 3])),
            "Ok(3)",
        ),
        (
            "poll_write_vectored",
            |port, cx| {
                let buffers = &[IoSlice::new(&[0; 3]), IoSlice::new(&[0; 3])];
                text(port.poll_write_vectored(cx, buffers))
            },
            "Ok(20)",
        ),
        (
            "AsyncWrite::poll_flush",
            |port, cx| text(AsyncWrite::poll_flush(port, cx)),
            "Ok(())",
        ),
        (
            "AsyncWrite::poll_close",
            |port, cx| text(AsyncWrite::poll_close(port, cx)),
            "Ok(())",
        ),
        (
            "AsyncBufRead::poll_fill_buf",
            |port, cx| text(AsyncBufRead::poll_fill_buf(port, cx)),
            "Ok([1, 2, 3])",
        ),
        (
            "poll_seek",
            |port, cx| text(port.poll_seek(cx, SeekFrom::Start(6))),
            "Ok(7)",
        ),
    ]
}

/// A method that cannot wait, with its name and what it gives.
pub(crate) type RowNow<C> = (
    &'static str,
    fn(Pin<&mut WithContext<Port, C>>) -> String,
    &'static str,
);

/// The methods that cannot wait.
pub(crate) fn methods_now<C: TaskContext>() -> [RowNow<C>; 2] {
    [
        (
            "start_send",
            |port| format!("{:?}", port.start_send(7)),
            "Err(7)",
        ),
        (
            "AsyncBufRead::consume",
            |mut port| {
                AsyncBufRead::consume(port.as_mut(), 3);
                port.inner().ended.to_string()
            },
            "true",
        ),
    ]
}
