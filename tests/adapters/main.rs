//! A future, stream, sink, iterator, reader and writer in a context of its own: each method acts in
//! it, and passes on what it gets.

mod port;
#[cfg(feature = "tokio")]
mod tokio;

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{self, Poll, Wake, Waker};
use std::{future, thread};

use aiocontextvars::{Context, ContextExt, SharedContext, TaskContext, context_var, shim};
use futures::future::FusedFuture;
use futures::stream::{self, FusedStream, Stream, StreamExt};
use futures::{FutureExt, SinkExt};

use port::{Port, Row, RowNow};

context_var! {
    static ID: u64;
}

fn methods<C: TaskContext>() -> Vec<Row<C>> {
    let methods = port::methods().into_iter();
    #[cfg(feature = "tokio")]
    let methods = methods.chain(tokio::methods());
    methods.collect()
}

fn methods_now<C: TaskContext>() -> Vec<RowNow<C>> {
    let methods = port::methods_now().into_iter();
    #[cfg(feature = "tokio")]
    let methods = methods.chain(tokio::methods_now());
    methods.collect()
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
    let seen = port.seen.clone();
    let mut port = port.in_context(Context::new().with_value(&ID, 100));
    let mut expected_id = 100;
    // What one leaves, the next sees, and nobody else.
    let mut check = |name| {
        assert_eq!(seen.take(), [Some(expected_id)], "{name}");
        assert_eq!(ID.get(), Some(1), "{name}");
        expected_id += 1;
    };
    for (name, method, expected) in methods() {
        let result = method(Pin::new(&mut port), &mut cx);
        assert_eq!(result, Poll::Ready(expected.to_owned()), "{name}");
        check(name);
    }
    for (name, method, expected) in methods_now() {
        assert_eq!(method(Pin::new(&mut port)), expected, "{name}");
        check(name);
    }
    drop(port);
    check("drop");
}

/// Polls while the context is entered on this thread, with another one on top of it, and then
/// afterwards.
#[test]
fn every_method_waits_for_a_shared_context_that_is_entered_further_out() {
    ID.set(1);
    for (name, method, expected) in methods() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = task::Context::from_waker(&waker);
        let shared = Context::new().with_value(&ID, 100).share();
        let port = Port::default();
        let seen = port.seen.clone();
        let mut port = port.in_context(&shared);
        let inside = || {
            let poll = || method(Pin::new(&mut port), &mut cx);
            assert_eq!(Context::new().run(poll), Poll::Pending, "{name}");
            assert!(seen.take().is_empty(), "{name}");
            assert_eq!(woken.0.load(Ordering::SeqCst), 0, "{name}");
            ID.set(200);
        };
        shared.run(inside).unwrap();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "{name}");
        let result = method(Pin::new(&mut port), &mut cx);
        assert_eq!(result, Poll::Ready(expected.to_owned()), "{name}");
        assert_eq!(seen.take(), [Some(200)], "{name}");
        assert_eq!((shared.get(&ID), ID.get()), (Some(201), Some(1)), "{name}");
        // Directly inside there is nothing to wait for.
        let result = shared.run(|| method(Pin::new(&mut port), &mut cx)).unwrap();
        assert_eq!(result, Poll::Ready(expected.to_owned()), "{name}");
        assert_eq!(shared.get(&ID), Some(202), "{name}");
    }
}

/// A shared context that another thread is in until it is told to leave.
struct HeldElsewhere {
    leave: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl HeldElsewhere {
    fn enter(shared: &SharedContext, id: u64) -> HeldElsewhere {
        let (leave, left) = mpsc::channel();
        let (entered, wait) = mpsc::channel();
        let shared = shared.clone();
        let thread = thread::spawn(move || {
            let hold = || {
                ID.set(id);
                entered.send(()).unwrap();
                left.recv().unwrap();
            };
            shared.run(hold).unwrap();
        });
        wait.recv().unwrap();
        HeldElsewhere { leave, thread }
    }

    fn release(self) {
        self.leave.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

#[test]
fn every_method_waits_for_a_shared_context_that_another_thread_is_in() {
    ID.set(1);
    for (name, method, expected) in methods() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = task::Context::from_waker(&waker);
        let shared = SharedContext::new();
        let held = HeldElsewhere::enter(&shared, 100);
        let port = Port::default();
        let seen = port.seen.clone();
        let mut port = port.in_context(&shared);
        for _ in 0..2 {
            let result = method(Pin::new(&mut port), &mut cx);
            assert_eq!(result, Poll::Pending, "{name}");
        }
        assert!(seen.take().is_empty(), "{name}");
        assert_eq!(woken.0.load(Ordering::SeqCst), 0, "{name}");
        held.release();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "{name}");
        let result = method(Pin::new(&mut port), &mut cx);
        assert_eq!(result, Poll::Ready(expected.to_owned()), "{name}");
        assert_eq!(seen.take(), [Some(100)], "{name}");
        assert_eq!((shared.get(&ID), ID.get()), (Some(101), Some(1)), "{name}");
        // And the drop, in what the other thread has made of it by then: a copy of that.
        let held = HeldElsewhere::enter(&shared, 200);
        drop(port);
        assert_eq!(seen.take(), [Some(200)], "{name}");
        assert_eq!((shared.get(&ID), ID.get()), (Some(200), Some(1)), "{name}");
        held.release();
    }
}

#[test]
fn what_cannot_wait_takes_a_copy() {
    ID.set(1);
    for (name, method, expected) in methods_now() {
        let shared = Context::new().with_value(&ID, 100).share();
        let port = Port::default();
        let seen = port.seen.clone();
        let mut port = port.in_context(&shared);
        assert_eq!(method(Pin::new(&mut port)), expected, "{name}");
        assert_eq!((seen.take(), shared.get(&ID)), (vec![Some(100)], Some(101)));
        // Inside, it passes through.
        let result = shared.run(|| method(Pin::new(&mut port))).unwrap();
        assert_eq!((result.as_str(), shared.get(&ID)), (expected, Some(102)));
        // Further out on this thread, and on another one, the context is taken. All count in
        // copies.
        let inside = || {
            let result = Context::new().run(|| method(Pin::new(&mut port)));
            assert_eq!(result, expected, "{name}");
            let port = &mut port;
            let elsewhere = || method(Pin::new(port));
            let result = thread::scope(|scope| scope.spawn(elsewhere).join().unwrap());
            assert_eq!(result, expected, "{name}");
            ID.get()
        };
        assert_eq!(shared.run(inside).unwrap(), Some(102), "{name}");
        assert_eq!(seen.take(), [Some(101), Some(102), Some(102)], "{name}");
        // And so does the end.
        let drops = || thread::scope(|scope| scope.spawn(|| drop(port)).join().unwrap());
        shared.run(drops).unwrap();
        assert_eq!(seen.take(), [Some(102)], "{name}");
        assert_eq!((shared.get(&ID), ID.get()), (Some(102), Some(1)), "{name}");
    }
}

#[test]
fn what_needs_no_context_is_passed_on() {
    let port = Port::default();
    let seen = port.seen.clone();
    let mut port = port.in_context(Context::new().with_value(&ID, 100));
    assert_eq!(Stream::size_hint(&port), (1, Some(3)));
    assert!(!FusedStream::is_terminated(&port));
    let mut cx = task::Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut port).poll_next(&mut cx).is_ready());
    assert!(FusedStream::is_terminated(&port));
    assert!(port.inner().ended);
    port.inner_mut().ended = false;
    assert!(!Pin::new(&mut port).inner_pin_mut().ended);
    let text = format!("{port:?}");
    assert!(text.starts_with("WithContext { inner: Port {"), "{text}");
    // Taken out, it is in no context any more, and its context has ended.
    ID.set(1);
    let port = port.into_inner();
    assert_eq!(seen.take(), [Some(100)]);
    drop(port);
    assert_eq!((seen.take(), ID.get()), (vec![Some(1)], Some(2)));
}

#[test]
fn a_fused_future_is_still_one() {
    ID.set(1);
    let mut future = future::ready(()).fuse().in_current_context();
    assert!(!future.is_terminated());
    assert!((&mut future).now_or_never().is_some());
    assert!(future.is_terminated());
    // So it can be a branch of `select!`.
    let mut branch = Box::pin(async { ID.get() }.fuse()).in_current_context();
    ID.set(2);
    let seen = shim::block_on(async {
        futures::select! { seen = branch => seen, () = future => unreachable!("it has ended") }
    });
    assert_eq!(seen, Some(1));
}

#[test]
fn a_stream_is_forwarded_to_a_sink_between_two_contexts() {
    let (sent, received) = futures::channel::mpsc::unbounded();
    let items = stream::repeat_with(|| {
        let next = ID.get_or(0) + 1;
        ID.set(next);
        next
    });
    let items = items.take(3).in_context(Context::new().with_value(&ID, 10));
    let sink = sent.with(|item: u64| {
        let seen = (item, ID.get());
        ID.set(item);
        future::ready(Ok::<_, futures::channel::mpsc::SendError>(seen))
    });
    let sink = sink.in_context(Context::new().with_value(&ID, 20));
    ID.set(1);
    let all = shim::block_on(async {
        items.map(Ok).forward(sink).await.unwrap();
        (received.collect::<Vec<_>>().await, ID.get())
    });
    // Each goes on from where it was.
    let pairs = [(11, Some(20)), (12, Some(11)), (13, Some(12))];
    assert_eq!(all, (pairs.to_vec(), Some(1)));
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
