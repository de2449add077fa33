//! Debug mode: what holds the loop up is reported.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Write};
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::catch::catch;
use crate::shim::platform::Instant;

/// Something held an event loop up: nothing else could run on it meanwhile. Given to the handler of
/// [`EventLoop::set_slow_callback_handler`](super::EventLoop::set_slow_callback_handler).
///
/// # Examples
///
/// ```
/// use std::{thread, time::Duration};
/// use aiocontextvars::{event_loop::EventLoop, shim};
///
/// let event_loop = EventLoop::new();
/// event_loop.set_debug(true);
/// event_loop.set_slow_callback_duration(Duration::from_millis(1));
/// event_loop.set_slow_callback_handler(|slow| {
///     assert!(slow.to_string().contains("callback"));
///     assert_eq!(slow.location().unwrap().file(), file!());
/// });
/// event_loop.call_soon(|| thread::sleep(Duration::from_millis(5)));
/// event_loop.run_until_complete(shim::yield_now());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SlowCallback {
    unit: Unit,
    location: Option<&'static Location<'static>>,
    duration: Duration,
}

/// What may hold a loop up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Callback,
    /// One step of a task.
    Task,
    /// One step of the future of `run_until_complete`.
    Main,
}

impl SlowCallback {
    /// How long it took, on the operating system's clock, also where the loop's own is virtual.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Where the callback was scheduled or the task was spawned. `None` for the future of
    /// `run_until_complete`, and for what was handed to the loop by
    /// [`Executor::schedule`](crate::shim::Executor::schedule).
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.location
    }
}

impl fmt::Display for SlowCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.unit, self.location) {
            (Unit::Callback, Some(place)) => write!(f, "the callback scheduled at {place}")?,
            (Unit::Task, Some(place)) => write!(f, "a step of the task spawned at {place}")?,
            (Unit::Main, _) => f.write_str("a step of the future of `run_until_complete`")?,
            (Unit::Callback | Unit::Task, None) => {
                f.write_str("a step of a task that was handed to the loop")?;
            }
        }
        write!(f, " held the event loop up for {:?}", self.duration)
    }
}

type Handler = Rc<dyn Fn(&SlowCallback)>;

/// Whether and how a loop reports what holds it up.
pub(super) struct Debug {
    pub(super) enabled: Cell<bool>,
    pub(super) limit: Cell<Duration>,
    pub(super) handler: RefCell<Option<Handler>>,
}

impl Default for Debug {
    fn default() -> Debug {
        Debug {
            enabled: Cell::new(false),
            // asyncio's.
            limit: Cell::new(Duration::from_millis(100)),
            handler: RefCell::default(),
        }
    }
}

impl Debug {
    /// Runs something, and reports it if it was slow. `run` tells where it came from.
    #[inline]
    pub(super) fn watch(
        &self,
        unit: Unit,
        run: impl FnOnce() -> Option<&'static Location<'static>>,
    ) {
        if self.enabled.get() {
            self.time(unit, run);
        } else {
            run();
        }
    }

    #[cold]
    fn time(&self, unit: Unit, run: impl FnOnce() -> Option<&'static Location<'static>>) {
        let start = Instant::now();
        let location = run();
        let duration = start.elapsed();
        if duration >= self.limit.get() {
            let slow = SlowCallback {
                unit,
                location,
                duration,
            };
            catch(|| self.report(&slow));
        }
    }

    fn report(&self, slow: &SlowCallback) {
        let handler = self.handler.borrow().clone();
        match handler {
            Some(handler) => handler(slow),
            // Where standard error is closed there is nobody to tell.
            None => drop(writeln!(io::stderr(), "aiocontextvars: {slow}")),
        }
    }
}
