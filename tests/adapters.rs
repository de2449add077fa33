//! A stream, sink, reader and writer in a context of its own: each method acts in it, and passes on what it gets.

use std::cell::RefCell;
use std::fmt::Debug;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Poll, Wake, Waker};

use aiocontextvars::{Context, ContextExt, SharedContext, TaskContext, WithContext, context_var};
use futures::io::{AsyncRead, AsyncWrite};
use futures::sink::Sink;
use futures::stream::{self, FusedStream, Stream};

context_var! {
    static ID: u64;
}

/// Does at once whatever it is asked to, notes the context that it was asked in, and counts there.
#[derive(Debug, Default)]
struct Port {
    seen: Rc<RefCell<Vec<Option<u64>>>>,
    ended: bool,
}

impl Port {
    fn note(&self) {
        let id = ID.get();
        self.seen.borrow_mut().push(id);
        ID.set(id.unwrap_or(0) + 1);
    }

    fn done<E>(&self) -> Poll<Result<(), E>> {
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

type Method<C> = fn(Pin<&mut WithContext<Port, C>>, &mut task::Context<'_>) -> Poll<String>;

fn text(result: Poll<impl Debug>) -> Poll<String> {
    result.map(|result| format!("{result:?}"))
}

/// The methods that wait for their context, with what each gives.
fn methods<C: TaskContext>() -> [(&'static str, Method<C>, &'static str); 10] {
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
    ]
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn every_method_acts_in_the_context_and_passes_on_what_it_gets() {
    ID.set(1);
    let mut cx = task::Context::from_waker(Waker::noop());
    let port = Port::default();
    let seen = Rc::clone(&port.seen);
    let mut port = port.in_context(Context::new().with_value(&ID, 100));
    for (n, (name, method, expected)) in methods().into_iter().enumerate() {
        let result = method(Pin::new(&mut port), &mut cx);
        assert_eq!(result, Poll::Ready(expected.to_owned()), "{name}");
        // What one leaves, the next sees, and nobody else.
        assert_eq!(seen.borrow().last(), Some(&Some(100 + n as u64)), "{name}");
        assert_eq!((seen.borrow().len(), ID.get()), (n + 1, Some(1)), "{name}");
    }
    assert_eq!(Pin::new(&mut port).start_send(7), Err(7));
    drop(port);
    assert_eq!(seen.borrow()[10..], [Some(110), Some(111)]);
    assert_eq!(ID.get(), Some(1));
}

#[test]
fn every_method_waits_for_a_shared_context_that_is_entered() {
    ID.set(1);
    for (name, method, expected) in methods() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = task::Context::from_waker(&waker);
        let shared = Context::new().with_value(&ID, 100).share();
        let port = Port::default();
        let seen = Rc::clone(&port.seen);
        let mut port = port.in_context(&shared);
        let inside = || {
            // Entered on this thread, with another context on top of it.
            let poll = || method(Pin::new(&mut port), &mut cx);
            assert_eq!(Context::new().run(poll), Poll::Pending, "{name}");
            assert!(seen.borrow().is_empty(), "{name}");
            assert_eq!(woken.0.load(Ordering::SeqCst), 0, "{name}");
            ID.set(200);
        };
        shared.run(inside).unwrap();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "{name}");
        let result = method(Pin::new(&mut port), &mut cx);
        assert_eq!(result, Poll::Ready(expected.to_owned()), "{name}");
        assert_eq!(*seen.borrow(), [Some(200)], "{name}");
        assert_eq!((shared.get(&ID), ID.get()), (Some(201), Some(1)), "{name}");
        // Directly inside there is nothing to wait for.
        let result = shared.run(|| method(Pin::new(&mut port), &mut cx)).unwrap();
        assert_eq!(result, Poll::Ready(expected.to_owned()), "{name}");
        assert_eq!(shared.get(&ID), Some(202), "{name}");
    }
}

#[test]
fn start_send_cannot_wait_and_takes_a_copy() {
    ID.set(1);
    let shared = Context::new().with_value(&ID, 100).share();
    let port = Port::default();
    let seen = Rc::clone(&port.seen);
    let mut port = port.in_context(&shared);
    assert_eq!(Pin::new(&mut port).start_send(1), Err(1));
    assert_eq!(shared.get(&ID), Some(101));
    let inside = || {
        assert_eq!(
            Context::new().run(|| Pin::new(&mut port).start_send(2)),
            Err(2)
        );
        // And so does the end of the sink.
        Context::new().run(|| drop(port));
        ID.get()
    };
    // Both have counted, in copies.
    assert_eq!(shared.run(inside).unwrap(), Some(101));
    assert_eq!(*seen.borrow(), [Some(100), Some(101), Some(101)]);
    assert_eq!((shared.get(&ID), ID.get()), (Some(101), Some(1)));
}

#[test]
fn what_needs_no_context_is_passed_on() {
    let port = Port::default();
    let seen = Rc::clone(&port.seen);
    let mut port = port.in_context(Context::new().with_value(&ID, 100));
    assert_eq!(Stream::size_hint(&port), (1, Some(3)));
    assert!(!port.is_terminated());
    let mut cx = task::Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut port).poll_next(&mut cx).is_ready());
    assert!(port.is_terminated());
    assert!(port.inner().ended);
    port.inner_mut().ended = false;
    Pin::new(&mut port)
        .inner_pin_mut()
        .seen
        .borrow_mut()
        .clear();
    assert!(!port.is_terminated());
    let text = format!("{port:?}");
    assert!(text.starts_with("WithContext { inner: Port {"), "{text}");
    // Taken out, it is in no context any more, and its context has ended.
    ID.set(1);
    let port = port.into_inner();
    assert!(seen.borrow().is_empty());
    drop(port);
    assert_eq!(
        (seen.borrow().as_slice(), ID.get()),
        ([Some(1)].as_slice(), Some(2))
    );
}

#[test]
fn taken_out_it_gives_up_its_place_in_the_line() {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let shared = SharedContext::new();
    let wait = || {
        let mut waiting = stream::pending::<u64>().in_context(&shared);
        let mut cx = task::Context::from_waker(&waker);
        let mut poll = || Pin::new(&mut waiting).poll_next(&mut cx).is_pending();
        assert!(Context::new().run(&mut poll));
        assert_eq!(Arc::strong_count(&woken), 3);
        waiting.into_inner()
    };
    let _stream = shared.run(wait).unwrap();
    assert_eq!(Arc::strong_count(&woken), 2);
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
}
