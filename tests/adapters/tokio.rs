//! The port as a reader and writer of tokio's.

use std::io::{self, IoSlice, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use aiocontextvars::{ContextExt, TaskContext};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncSeek, AsyncWrite, AsyncWriteExt,
    BufReader, ReadBuf,
};

use crate::ID;
use crate::port::{Port, Row, RowNow, text};

impl AsyncRead for Port {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.put_slice(&[3]);
        self.done()
    }
}

impl AsyncBufRead for Port {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.note();
        Poll::Ready(Ok(&[4, 5]))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.note();
        self.ended = amount == 2;
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.note();
        Poll::Ready(Ok(buffer.len() + 100))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.note();
        Poll::Ready(Ok(buffers.len() * 100))
    }

    fn is_write_vectored(&self) -> bool {
        self.ended
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.note();
        Poll::Ready(Err(io::ErrorKind::WouldBlock.into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.note();
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }
}

impl AsyncSeek for Port {
    fn start_seek(self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        self.note();
        match position {
            SeekFrom::Start(8) => Err(io::ErrorKind::InvalidInput.into()),
            _ => Ok(()),
        }
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        self.note();
        Poll::Ready(Ok(9))
    }
}

/// The methods that wait.
pub(crate) fn methods<C: TaskContext>() -> [Row<C>; 7] {
    [
        (
            "tokio's poll_read",
            |port, cx| {
                let mut buffer = [0; 2];
                let mut buffer = ReadBuf::new(&mut buffer);
                let read = AsyncRead::poll_read(port, cx, &mut buffer);
                text(read.map(|read| (read.unwrap(), buffer.filled().to_vec())))
            },
            "((), [3])",
        ),
        (
            "tokio's poll_fill_buf",
            |port, cx| text(AsyncBufRead::poll_fill_buf(port, cx)),
            "Ok([4, 5])",
        ),
        (
            "tokio's poll_write",
            |port, cx| text(AsyncWrite::poll_write(port, cx, &[0; 3])),
            "Ok(103)",
        ),
        (
            "tokio's poll_write_vectored",
            |port, cx| {
                let buffers = &[IoSlice::new(&[0; 3]), IoSlice::new(&[0; 3])];
                text(AsyncWrite::poll_write_vectored(port, cx, buffers))
            },
            "Ok(200)",
        ),
        (
            "tokio's poll_flush",
            |port, cx| text(AsyncWrite::poll_flush(port, cx)),
            "Err(Kind(WouldBlock))",
        ),
        (
            "poll_shutdown",
            |port, cx| text(port.poll_shutdown(cx)),
            "Err(Kind(NotConnected))",
        ),
        (
            "poll_complete",
            |port, cx| text(port.poll_complete(cx)),
            "Ok(9)",
        ),
    ]
}

/// The methods that cannot wait.
pub(crate) fn methods_now<C: TaskContext>() -> [RowNow<C>; 2] {
    [
        (
            "tokio's consume",
            |mut port| {
                AsyncBufRead::consume(port.as_mut(), 2);
                port.inner().ended.to_string()
            },
            "true",
        ),
        (
            "start_seek",
            |port| format!("{:?}", port.start_seek(SeekFrom::Start(8))),
            "Err(Kind(InvalidInput))",
        ),
    ]
}

#[test]
fn whether_writes_are_vectored_is_passed_on() {
    let mut port = Port::default().in_current_context();
    assert!(!port.is_write_vectored());
    port.inner_mut().ended = true;
    assert!(port.is_write_vectored());
}

/// Between tokio's own readers and writers.
#[tokio::test]
async fn lines_pass_through_a_pipe_whose_ends_have_contexts() {
    /// Writes in capitals, if it is told to.
    struct Shouts<W>(W);
    impl<W: AsyncWrite + Unpin> AsyncWrite for Shouts<W> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &[u8],
        ) -> Poll<io::Result<usize>> {
            let text = match ID.get() {
                Some(7) => buffer.to_ascii_uppercase(),
                _ => buffer.to_owned(),
            };
            Pin::new(&mut self.0).poll_write(cx, &text)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }
    // Smaller than a line, so that both ends have to wait.
    let (near, far) = tokio::io::duplex(4);
    let context = aiocontextvars::Context::new().with_value(&ID, 7);
    let mut near = Shouts(near).in_context(context);
    let mut far = BufReader::new(far).in_current_context();
    let writes = async {
        near.write_all(b"a line\nanother\n").await.unwrap();
        near.shutdown().await.unwrap();
    };
    let reads = async {
        let (mut line, mut rest) = (String::new(), String::new());
        far.read_line(&mut line).await.unwrap();
        far.read_to_string(&mut rest).await.unwrap();
        line + &rest
    };
    let ((), text) = tokio::join!(writes, reads);
    assert_eq!(text, "A LINE\nANOTHER\n");
}
