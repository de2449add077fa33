//! What costs no allocation, and what costs how many, counted.

mod counting;
mod spawn;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{OnceLock, mpsc};
use std::task::{self, Poll, Waker};
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{ContextAwareExecutor, Runnable, TimerHandle};
use aiocontextvars::{
    Context, ContextExt, ContextVar, Fields, SharedContext, context_var, copy_context,
};
use futures::FutureExt;

use crate::counting::{alone, count, left, peak};

context_var! {
    static ID: u64;
    static LOCALE: &'static str = "en";
    static UNSET: u64;
}

/// 10,000 variables whose ids follow one another.
fn vars() -> &'static [ContextVar<usize>] {
    static VARS: OnceLock<Vec<ContextVar<usize>>> = OnceLock::new();
    VARS.get_or_init(|| {
        let mut vars = Vec::with_capacity(10_000);
        vars.resize_with(10_000, || ContextVar::named(""));
        vars.iter().for_each(|var| assert_eq!(var.get(), None));
        vars
    })
}

/// A context with the first so many of `vars`.
fn context_of(size: usize) -> Context {
    let mut context = Context::new();
    context.run(|| {
        for (n, var) in vars()[..size].iter().enumerate() {
            var.set(n);
        }
    });
    context
}

/// Contexts with 1, 100 and 10,000 variables, `ID` among them.
fn contexts() -> Vec<Context> {
    let of_size = |size| context_of(size).with_value(&ID, 1);
    vec![of_size(0), of_size(99), of_size(9_999)]
}

#[test]
fn cc_02_a_copy_allocates_nothing_at_any_size() {
    let _alone = alone();
    for mut context in contexts() {
        context.run(|| {
            assert_eq!(count(|| drop(copy_context())), 0);
            assert_eq!(count(|| drop(().in_current_context())), 0);
        });
        assert_eq!(count(|| drop(context.clone())), 0);
    }
}

#[test]
fn reading_and_running_allocate_nothing() {
    let _alone = alone();
    // A default is computed once.
    assert_eq!(LOCALE.get(), "en");
    for mut context in contexts() {
        let counted = count(|| {
            context.run(|| {
                assert_eq!((ID.get(), LOCALE.get()), (Some(1), "en"));
                assert_eq!((UNSET.get(), UNSET.get_or(3)), (None, 3));
                assert_eq!(ID.with(|id| id.copied()), Some(1));
                assert_eq!(ID.get_or(2), 1);
            });
        });
        assert_eq!(counted, 0);
        let future = async { ID.get() };
        let counted = count(|| {
            let future = future.in_context(context);
            assert_eq!(future.now_or_never(), Some(Some(1)));
        });
        assert_eq!(counted, 0);
    }
}

#[test]
fn polling_allocates_nothing_at_any_size() {
    let _alone = alone();
    for context in contexts() {
        let pending = poll_fn(|_| match ID.get() {
            Some(1) => Poll::Pending,
            other => Poll::Ready(other),
        });
        let mut future = pin!(pending.in_context(context));
        let mut cx = task::Context::from_waker(Waker::noop());
        let counted = count(|| {
            for _ in 0..100 {
                assert_eq!(future.as_mut().poll(&mut cx), Poll::Pending);
            }
        });
        assert_eq!(counted, 0);
    }
}

/// How many levels a map with so many keys has, of sixteen children each.
fn depth(size: usize) -> u64 {
    (1..)
        .find(|&depth| 16_usize.pow(depth) >= size)
        .unwrap()
        .into()
}

#[test]
fn setting_allocates_for_the_path_that_changes() {
    let _alone = alone();
    for size in [1, 16, 100, 10_000] {
        let mut context = context_of(size);
        for var in [&vars()[0], &vars()[size / 2], &vars()[size - 1]] {
            context.run(|| drop(var.set(1)));
            // In place, the value.
            let counted = context.run(|| count(|| drop(var.set(2))));
            assert_eq!(counted, 1, "{size} variables");
            // Next to a copy, the value, the node of the context, and its list while that is flat;
            // then a branch and the list of its children for each level, the leaf and its entry.
            let copy = context.clone();
            let counted = context.run(|| count(|| drop(var.set(3))));
            let expected = match depth(size) {
                1 => 3,
                depth => 4 + 2 * depth,
            };
            assert!(
                counted <= expected,
                "{counted} with {size} variables and a copy"
            );
            assert_eq!((context.get(var), copy.get(var)), (Some(&3), Some(&2)));
        }
    }
}

#[test]
fn a_wrapped_future_is_two_words_larger() {
    let _alone = alone();
    let word = 7_usize;
    let future = async move {
        std::future::ready(()).await;
        word
    };
    let size = size_of_val(&future);
    assert_eq!(size % size_of::<usize>(), 0, "no room for padding");
    let wrapped = future.in_context(Context::new());
    assert_eq!(size_of_val(&wrapped), size + 16);
    let shared = wrapped.into_inner().in_context(SharedContext::new());
    assert_eq!(size_of_val(&shared), size + 16);
    assert_eq!(size_of::<Context>(), 16);
}

#[test]
fn hd_03_a_million_cancelled_timers_take_the_room_of_a_few() {
    let _alone = alone();
    let event_loop = EventLoop::new();
    let kept: Vec<_> = (0..100)
        .map(|_| event_loop.call_later(Duration::from_secs(3600), || ()))
        .collect();
    ID.set(1);
    // Cancelled at once, and by the hundred.
    for at_a_time in [1, 100] {
        let room = peak(|| {
            for _ in 0..1_000_000 / at_a_time {
                let timers: Vec<_> = (0..at_a_time)
                    .map(|n| event_loop.call_later(Duration::from_secs(60 + n), || ()))
                    .collect();
                timers.iter().for_each(TimerHandle::cancel);
            }
        });
        assert!(room < 100_000, "{room} bytes, {at_a_time} at a time");
    }
    drop(event_loop);
    kept.iter().for_each(TimerHandle::cancel);
}

#[test]
fn executors_that_come_and_go_leave_nothing_behind() {
    let _alone = alone();
    let come_and_go = || {
        for _ in 0..1000 {
            let (sender, steps) = mpsc::channel::<Runnable>();
            let executor = ContextAwareExecutor::from_schedule(move |step| drop(sender.send(step)));
            executor.call_soon(|| ());
            executor.spawn(async {}).detach();
            drop(executor);
            steps.iter().for_each(Runnable::run);
        }
    };
    // What is kept for the next ones is there then.
    come_and_go();
    let left = left(come_and_go);
    assert!(left < 10_000, "{left} bytes");
}

#[test]
fn a_context_whose_local_variable_has_gone_is_inherited_as_it_is() {
    static CONNECTION: ContextVar<u8> = ContextVar::new("connection").local();
    let _alone = alone();
    let mut context = context_of(3);
    context.run(|| {
        let guard = CONNECTION.scoped(1);
        // Ends where its context is not current, so that the next copy takes the layer out.
        Context::new().run(|| drop(guard));
        let mut settled = copy_context();
        settled.run(|| {
            let inherited = count(|| drop(async {}.in_current_context()));
            assert_eq!(inherited, 0);
        });
    });
}

#[test]
fn fields_are_read_and_written_without_allocations() {
    use std::fmt::Write;
    let _alone = alone();
    let fields = Fields::new().with("id", &ID).with("locale", &LOCALE);
    let fields = fields.display("unset", &UNSET).display("id_again", &ID);
    for mut context in contexts() {
        context.run(|| {
            let mut line = String::with_capacity(1024);
            let mut write = || {
                line.clear();
                fields.for_each(|name, value| write!(line, " {name}={value}").unwrap());
            };
            // The default is there afterwards.
            write();
            assert_eq!(count(write), 0);
            assert_eq!(line, r#" id=1 locale="en" id_again="1""#);
        });
    }
}
