//! Entering a `SharedContext`, and waiting for it.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use aiocontextvars::{ContextExt, SharedContext, context_var};
use aiocontextvars_models::{Exclusive, check, yield_once};
use loom::future::block_on;
use loom::thread;

context_var! {
    static COUNT: u32 = 0;
}

fn count() {
    COUNT.set(COUNT.get_or(0) + 1);
}

/// Two threads are never inside at once, what the first has done is seen by the second, and
/// afterwards the context is free.
///
/// Fails if `acquire` enters without looking, or `release` forgets that the context has been left.
#[test]
fn one_at_a_time_is_inside() {
    check(|| {
        let shared = SharedContext::new();
        let inside = Exclusive::new();
        let enter = {
            let (shared, inside) = (shared.clone(), inside.clone());
            move || {
                let work = || {
                    inside.touch();
                    count();
                };
                u32::from(shared.run(work).is_ok())
            }
        };
        let other = thread::spawn(enter.clone());
        let entered = enter() + other.join().unwrap();
        assert!(entered >= 1, "one of the two came first");
        assert_eq!(shared.get(&COUNT), Some(entered));
        shared.run(|| inside.touch()).expect("it has been left");
    });
}

/// Two tasks that share a context both end, in whatever order their polls come, and no update is
/// lost.
///
/// Fails if `release` wakes nobody, wakes before the context is free, or only the first of those
/// who wait; if `poll_enter` looks, and notes its waker under another lock; if `acquire` enters
/// without looking.
#[test]
fn who_waits_is_woken() {
    check(|| {
        let shared = SharedContext::new();
        let inside = Exclusive::new();
        let work = {
            let inside = inside.clone();
            move || {
                let inside = inside.clone();
                async move {
                    inside.touch();
                    count();
                    yield_once().await;
                    inside.touch();
                    count();
                }
            }
        };
        let other = {
            let (shared, work) = (shared.clone(), work.clone());
            thread::spawn(move || block_on(work().in_context(shared)))
        };
        block_on(work().in_context(shared.clone()));
        other.join().unwrap();
        assert_eq!(shared.get(&COUNT), Some(4));
        assert_eq!(inside.times(), 4);
    });
}

/// A task that waits and is dropped, perhaps just when it is woken, does not hold up the one behind
/// it.
///
/// Fails if only the first of those who wait is woken, or `Waiter`'s drop takes out the wrong
/// ticket.
#[test]
fn who_goes_away_holds_nobody_up() {
    check(|| {
        let shared = SharedContext::new();
        let holder = {
            let shared = shared.clone();
            thread::spawn(move || {
                let _busy_is_fine = shared.run(count);
            })
        };
        let fickle = {
            let shared = shared.clone();
            thread::spawn(move || {
                let mut waiting = Box::pin(yield_once().in_context(shared));
                let mut cx = Context::from_waker(Waker::noop());
                let _either = waiting.as_mut().poll(&mut cx);
            })
        };
        // On a thread of its own, so that the two preemptions are left for the others.
        let waiter = {
            let shared = shared.clone();
            thread::spawn(move || block_on(async { count() }.in_context(shared)))
        };
        holder.join().unwrap();
        fickle.join().unwrap();
        waiter.join().unwrap();
        assert!(
            shared
                .get(&COUNT)
                .is_some_and(|count| (1..=2).contains(&count))
        );
    });
}

/// A copy and a read from outside never wait for who is inside, and see a state between two writes.
///
/// Fails if a write inside is not published.
#[test]
fn outsiders_see_what_is_written() {
    check(|| {
        let shared = SharedContext::new();
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared
                    .run(|| {
                        count();
                        count();
                    })
                    .expect("nobody else enters");
            })
        };
        let early = shared.get(&COUNT).unwrap_or(0);
        let late = shared.copy().get(&COUNT).copied().unwrap_or(0);
        assert!(early <= late && late <= 2);
        writer.join().unwrap();
        assert_eq!(shared.get(&COUNT), Some(2));
    });
}

/// A future whose context is entered elsewhere is dropped all the same, while the one inside goes
/// on.
#[test]
fn dropped_while_another_is_inside() {
    check(|| {
        let shared = SharedContext::new();
        let inside = {
            let shared = shared.clone();
            thread::spawn(move || block_on(async { count() }.in_context(shared)))
        };
        let never_polled = async { count() }.in_context(shared.clone());
        {
            let mut polled = pin!(async { count() }.in_context(&shared));
            let mut cx = Context::from_waker(Waker::noop());
            let _either = polled.as_mut().poll(&mut cx);
        }
        drop(never_polled);
        inside.join().unwrap();
        assert!(
            shared
                .get(&COUNT)
                .is_some_and(|count| (1..=2).contains(&count))
        );
    });
}
