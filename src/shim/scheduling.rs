//! Callbacks and timers on the executor that the search finds.

use std::time::Duration;

use super::call_handle::{CallHandle, TimerHandle};
use super::callback::Call;
use super::clock::deadline;
use super::destination::Destination;
use super::platform::Instant;
use super::queue;
use super::scope::{self, new_context};
use super::search;
use crate::task_context::TaskContext;

/// Schedules `f` to be called soon, in a copy of the current context, taken now.
///
/// See [`shim`](super) for the order, and
/// [`set_exception_handler`](super::set_exception_handler) for panics.
///
/// # Panics
///
/// If there is no executor.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// shim::block_on(async {
///     LEVEL.set(1);
///     shim::call_soon(|| assert_eq!(LEVEL.get(), Some(1)));
///     LEVEL.set(2);
///     shim::yield_now().await;
/// });
/// ```
#[track_caller]
pub fn call_soon(f: impl FnOnce() + Send + 'static) -> CallHandle {
    // Callbacks that schedule callbacks need no search.
    if queue::is_own(|scope| scope.executor) {
        let fixed = scope::current(|scope, _| scope.fixed.clone());
        let call = Call::new(new_context(fixed.as_ref()), fixed, f);
        queue::push_own(&call);
        return CallHandle::new(call);
    }
    let destination = search::expect_destination();
    let context = destination.new_context();
    destination.call_soon_in(context, f)
}

/// Schedules `f` to be called soon, in `context`.
///
/// In a [`SharedContext`](crate::SharedContext) that is entered elsewhere, the callback steps aside
/// and runs when it is free, in order among those of the same context.
///
/// # Panics
///
/// If there is no executor.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{SharedContext, context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// let shared = SharedContext::new();
/// shim::block_on(async {
///     shim::call_soon_in(&shared, || { LEVEL.set(1); });
///     while shared.is_empty() {
///         shim::yield_now().await;
///     }
/// });
/// ```
#[track_caller]
pub fn call_soon_in<C: TaskContext>(context: C, f: impl FnOnce() + Send + 'static) -> CallHandle {
    search::expect_destination().call_soon_in(context, f)
}

/// Schedules `f` to be called soon on this thread, by the local executor that is entered, in a copy
/// of the current context, taken now. The closure need not be `Send`.
///
/// # Panics
///
/// If no local executor is entered.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use aiocontextvars::{event_loop::EventLoop, shim};
///
/// EventLoop::new().run_until_complete(async {
///     let called = Rc::new(Cell::new(false));
///     shim::call_soon_local({
///         let called = Rc::clone(&called);
///         move || called.set(true)
///     });
///     shim::yield_now().await;
///     assert!(called.get());
/// });
/// ```
#[track_caller]
pub fn call_soon_local(f: impl FnOnce() + 'static) -> CallHandle {
    if queue::is_own(|scope| scope.local) {
        let fixed = scope::current(|scope, _| scope.fixed.clone());
        let call = Call::new_local(new_context(fixed.as_ref()), fixed, f);
        queue::push_own(&call);
        return CallHandle::new(call);
    }
    let local = search::expect_local();
    let call = Call::new_local(local.scope.new_context(), local.scope.fixed.clone(), f);
    Destination::Local(local).call_soon(call)
}

/// Schedules `f` to be called when `delay` has passed on the executor's clock, in a copy of the
/// current context, taken now. Timers fire in the order of their deadlines, equal ones in the order
/// of scheduling.
///
/// # Panics
///
/// If there is no executor, or it is a tokio runtime without a time driver.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// shim::block_on(async {
///     LEVEL.set(1);
///     shim::call_later(Duration::from_millis(1), || assert_eq!(LEVEL.get(), Some(1)));
///     LEVEL.set(2);
///     shim::sleep(Duration::from_millis(5)).await;
/// });
/// ```
#[track_caller]
pub fn call_later(delay: Duration, f: impl FnOnce() + Send + 'static) -> TimerHandle {
    let destination = search::expect_destination();
    let context = destination.new_context();
    destination.call_later_in(context, delay, f)
}

/// As [`call_later`], in `context`.
///
/// # Panics
///
/// As [`call_later`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aiocontextvars::{Context, shim};
///
/// shim::block_on(async {
///     // A timer that pins no values of its maker.
///     shim::call_later_in(Context::new(), Duration::from_millis(1), || ());
/// });
/// ```
#[track_caller]
pub fn call_later_in<C: TaskContext>(
    context: C,
    delay: Duration,
    f: impl FnOnce() + Send + 'static,
) -> TimerHandle {
    search::expect_destination().call_later_in(context, delay, f)
}

/// Schedules `f` to be called at `when` on the executor's clock, in a copy of the current context,
/// taken now. A moment that has passed means the next turn.
///
/// # Panics
///
/// As [`call_later`].
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::block_on(async {
///     let timer = shim::call_at(shim::now(), || ());
///     assert!(timer.when() <= shim::now());
/// });
/// ```
#[track_caller]
pub fn call_at(when: Instant, f: impl FnOnce() + Send + 'static) -> TimerHandle {
    let destination = search::expect_destination();
    let context = destination.new_context();
    destination.call_at_in(context, when, f)
}

/// As [`call_at`], in `context`.
///
/// # Panics
///
/// As [`call_later`].
///
/// # Examples
///
/// ```
/// use aiocontextvars::{Context, shim};
///
/// shim::block_on(async {
///     shim::call_at_in(Context::new(), shim::now(), || ());
/// });
/// ```
#[track_caller]
pub fn call_at_in<C: TaskContext>(
    context: C,
    when: Instant,
    f: impl FnOnce() + Send + 'static,
) -> TimerHandle {
    search::expect_destination().call_at_in(context, when, f)
}

impl Destination {
    #[track_caller]
    pub(crate) fn call_soon_in<C: TaskContext>(
        self,
        context: C,
        f: impl FnOnce() + Send + 'static,
    ) -> CallHandle {
        let call = Call::new(context, self.fixed(), f);
        self.call_soon(call)
    }

    #[track_caller]
    pub(crate) fn call_later_in<C: TaskContext>(
        self,
        context: C,
        delay: Duration,
        f: impl FnOnce() + Send + 'static,
    ) -> TimerHandle {
        let when = deadline(self.clock().now(), delay);
        self.call_at_in(context, when, f)
    }

    #[track_caller]
    pub(crate) fn call_at_in<C: TaskContext>(
        self,
        context: C,
        when: Instant,
        f: impl FnOnce() + Send + 'static,
    ) -> TimerHandle {
        let call = Call::new(context, self.fixed(), f);
        self.call_at(when, call)
    }
}
