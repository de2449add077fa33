//! Futures and streams in a context of their own, polled and dropped by hand.

use std::any::Any;
use std::task::Poll;

use aiocontextvars::{ContextExt, copy_context};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};

use super::probes::{
    self, CAPTURED, Ended, Exit, Gate, OUTSIDE, Probe, Seen, elsewhere, leak, poll_once,
};
use crate::fixtures::ID;

/// A future or a stream of one item, in a context that has a value which goes with it.
enum Wrapped {
    Future(BoxFuture<'static, Ended>),
    Stream(BoxStream<'static, Ended>),
}

type Wrap = fn(BoxFuture<'static, Ended>) -> Wrapped;

/// Every way to put one into a copy of the current context.
const WRAPS: [(&str, Wrap); 8] = [
    ("in_current_context", |future| {
        Wrapped::Future(Box::pin(future.in_current_context()))
    }),
    ("in_context", |future| {
        Wrapped::Future(Box::pin(future.in_context(copy_context())))
    }),
    ("a shared context", |future| {
        let shared = copy_context().share();
        Wrapped::Future(Box::pin(future.in_context(shared)))
    }),
    ("a scope in_current_context", |future| {
        let scope = ID.scope(CAPTURED.unwrap(), future);
        Wrapped::Future(Box::pin(scope.in_current_context()))
    }),
    ("nested", |future| {
        let inner = future.in_context(copy_context());
        Wrapped::Future(Box::pin(ID.scope(100, inner)))
    }),
    ("a stream in_current_context", |future| {
        Wrapped::Stream(Box::pin(stream::once(future).in_current_context()))
    }),
    ("a stream in_context", |future| {
        Wrapped::Stream(Box::pin(stream::once(future).in_context(copy_context())))
    }),
    ("a stream in a shared context", |future| {
        let shared = copy_context().share();
        Wrapped::Stream(Box::pin(stream::once(future).in_context(shared)))
    }),
];

impl Wrapped {
    fn poll(&mut self) -> Result<Poll<Ended>, Box<dyn Any + Send>> {
        match self {
            Wrapped::Future(future) => poll_once(future.as_mut()),
            Wrapped::Stream(stream) => {
                let item = poll_once(Box::pin(stream.next()).as_mut())?;
                Ok(item.map(|item| item.expect("it has one item")))
            }
        }
    }
}

/// Calls `f` with each kind, made to take `exit` and not yet polled.
fn each(exit: Exit, f: impl Fn(&str, Probe, Wrapped, Gate)) {
    for (name, wrap) in WRAPS {
        let probe = Probe::new();
        let (future, gate) = probes::future(&probe, exit, false);
        let wrapped = probe.captured(|| wrap(future));
        probe.check(name, &Seen::default(), OUTSIDE);
        f(name, probe, wrapped, gate);
    }
    ID.unset();
}

/// Polls to the first await.
fn first_poll(name: &str, probe: &Probe, wrapped: &mut Wrapped) -> Seen {
    assert!(wrapped.poll().unwrap().is_pending());
    let seen = Seen {
        body: vec![CAPTURED],
        ..Seen::default()
    };
    probe.check(name, &seen, OUTSIDE);
    seen
}

fn ends(exit: Exit) {
    each(exit, |name, probe, mut wrapped, gate| {
        let mut gate = Some(gate);
        if exit != Exit::PanicsFirst {
            first_poll(name, &probe, &mut wrapped);
            gate.take().unwrap().go.send(()).unwrap();
        }
        let ended = wrapped.poll().map(|poll| match poll {
            Poll::Ready(ended) => ended,
            Poll::Pending => panic!("{name}: it is due"),
        });
        // The body is over; its context stays with the wrapper.
        let mut seen = exit.seen();
        let value = std::mem::take(&mut seen.values);
        probe.check(name, &seen, OUTSIDE);
        drop(wrapped);
        seen.values = value;
        probe.check(name, &seen, OUTSIDE);
        exit.check(ended);
        seen.outputs += usize::from(exit == Exit::Returns);
        probe.check(name, &seen, OUTSIDE);
    });
}

pub(crate) fn exit_a_wrapped_future_that_returns() {
    ends(Exit::Returns);
}

pub(crate) fn exit_a_wrapped_future_that_returns_early() {
    ends(Exit::ReturnsEarly);
}

pub(crate) fn exit_a_wrapped_future_that_panics_on_its_first_poll() {
    ends(Exit::PanicsFirst);
}

pub(crate) fn exit_a_wrapped_future_that_panics_on_its_second_poll() {
    ends(Exit::PanicsSecond);
}

fn dropped(last: Option<u64>, body: Vec<Option<u64>>) -> Seen {
    Seen {
        body,
        dropped: vec![last],
        values: vec![Ok(None)],
        ..Seen::default()
    }
}

pub(crate) fn exit_a_wrapped_future_that_is_never_polled() {
    each(Exit::Returns, |name, probe, wrapped, _| {
        drop(wrapped);
        probe.check(name, &dropped(CAPTURED, vec![]), OUTSIDE);
    });
    each(Exit::Returns, |name, probe, wrapped, _| {
        elsewhere(|| {
            drop(wrapped);
            probe.check(name, &dropped(CAPTURED, vec![]), None);
        });
        probe.check(name, &dropped(CAPTURED, vec![]), OUTSIDE);
    });
}

pub(crate) fn exit_a_wrapped_future_dropped_while_pending() {
    each(Exit::Waits, |name, probe, mut wrapped, _gate| {
        first_poll(name, &probe, &mut wrapped);
        drop(wrapped);
        probe.check(name, &Exit::Waits.seen(), OUTSIDE);
    });
}

/// Polled on one thread and dropped on another, which has a context of its own.
pub(crate) fn exit_a_wrapped_future_dropped_on_another_thread() {
    each(Exit::Waits, |name, probe, mut wrapped, _gate| {
        first_poll(name, &probe, &mut wrapped);
        elsewhere(|| {
            ID.set(50);
            drop(wrapped);
            probe.check(name, &Exit::Waits.seen(), Some(50));
        });
        probe.check(name, &Exit::Waits.seen(), OUTSIDE);
    });
}

/// Each of its polls is on another thread, and so is its drop.
pub(crate) fn exit_a_wrapped_future_polled_on_two_threads() {
    for exit in [Exit::Returns, Exit::ReturnsEarly, Exit::PanicsSecond] {
        each(exit, |name, probe, mut wrapped, gate| {
            first_poll(name, &probe, &mut wrapped);
            gate.go.send(()).unwrap();
            let mut seen = exit.seen();
            let value = std::mem::take(&mut seen.values);
            let (wrapped, ended) = elsewhere(|| {
                let ended = wrapped.poll().map(|poll| match poll {
                    Poll::Ready(ended) => ended,
                    Poll::Pending => panic!("{name}: it is due"),
                });
                probe.check(name, &seen, None);
                (wrapped, ended)
            });
            probe.check(name, &seen, OUTSIDE);
            elsewhere(|| {
                drop(wrapped);
                seen.values = value;
                probe.check(name, &seen, None);
            });
            exit.check(ended);
            seen.outputs += usize::from(exit == Exit::Returns);
            probe.check(name, &seen, OUTSIDE);
        });
    }
}

/// Nothing of it is dropped, and the contexts outside are what they were.
pub(crate) fn exit_a_wrapped_future_that_is_forgotten() {
    each(Exit::Waits, |name, probe, mut wrapped, gate| {
        let seen = first_poll(name, &probe, &mut wrapped);
        match wrapped {
            Wrapped::Future(future) => leak(future),
            Wrapped::Stream(stream) => leak(stream),
        }
        drop(gate);
        probe.check(name, &seen, OUTSIDE);
    });
    each(Exit::Returns, |name, probe, wrapped, _| {
        match wrapped {
            Wrapped::Future(future) => leak(future),
            Wrapped::Stream(stream) => leak(stream),
        }
        probe.check(name, &Seen::default(), OUTSIDE);
    });
    assert_eq!((ID.get(), copy_context().len()), (None, 0));
}

/// Without its context, what was wrapped is its owner's, and the value is dropped alone.
pub(crate) fn exit_a_wrapped_future_taken_out_of_its_context() {
    let probe = Probe::new();
    let (future, gate) = probes::future(&probe, Exit::Waits, false);
    let mut wrapped = probe.captured(|| future.in_current_context());
    assert!(
        poll_once(std::pin::Pin::new(&mut wrapped))
            .unwrap()
            .is_pending()
    );
    let mut future = wrapped.into_inner();
    let mut seen = Seen {
        body: vec![CAPTURED],
        values: vec![Ok(None)],
        ..Seen::default()
    };
    probe.check("taken out", &seen, OUTSIDE);
    gate.go.send(()).unwrap_or_default();
    assert!(poll_once(future.as_mut()).unwrap().is_pending());
    drop(future);
    seen.dropped.push(OUTSIDE);
    probe.check("dropped", &seen, OUTSIDE);
    ID.unset();
}
