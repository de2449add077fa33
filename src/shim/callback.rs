//! Callbacks: what is kept of a scheduled closure, the handles that cancel it, and its failures.

use std::any::Any;
use std::fmt;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::thread;
use std::time::Instant;

use super::entered;
use super::join::panic_message;
use super::queue::{CallId, Queue};
use super::task::contain;
use crate::context::Context;
use crate::current::{self, Entered, FrameKind};
use crate::future::{AnyContext, ContextExt, TaskContext, WithContext};
use crate::shared::SharedContext;

type Closure = Box<dyn FnOnce() + Send>;

/// A closure that waits for its turn. Dropped, called or not, inside its context.
pub(crate) struct Call {
    work: Work,
    location: &'static Location<'static>,
    /// The context of the fixed executor that it was submitted to. Wrappers of one executor share a queue, whose
    /// driver has a frame of its own.
    fixed: Option<Arc<Context>>,
}

enum Work {
    Own(WithContext<Closure, Context>),
    Shared(SharedContext, WithContext<Closure, SharedContext>),
}

impl Call {
    #[track_caller]
    pub(crate) fn new<C: TaskContext>(context: C, f: impl FnOnce() + Send + 'static) -> Call {
        let closure: Closure = Box::new(f);
        Call {
            work: match context.into_any() {
                AnyContext::Own(context) => Work::Own(closure.in_context(context)),
                AnyContext::Shared(shared) => {
                    let work = closure.in_context(&shared);
                    Work::Shared(shared, work)
                }
            },
            location: Location::caller(),
            fixed: None,
        }
    }

    /// The same call, submitted to an executor that has this fixed context.
    pub(crate) fn fixed(mut self, fixed: Option<Arc<Context>>) -> Call {
        self.fixed = fixed;
        self
    }

    /// The shared context that the call has to enter, if it is for one.
    pub(crate) fn shared(&self) -> Option<&SharedContext> {
        match &self.work {
            Work::Own(_) => None,
            Work::Shared(shared, _) => Some(shared),
        }
    }

    /// Calls the closure in its context; `shared` is its shared one, entered, if it has one.
    pub(crate) fn run(self, shared: Option<Entered<'_>>) {
        let Call {
            work,
            location,
            fixed,
        } = self;
        let _frame = entered::enter_fixed(fixed);
        // The outer net is for what is dropped when the context is left.
        let net = panic::catch_unwind(AssertUnwindSafe(|| match work {
            Work::Own(work) => {
                let (mut context, closure) = work.into_parts();
                let _entered = current::enter(&mut context, FrameKind::Inside);
                invoke(closure, location);
            }
            Work::Shared(_, work) => {
                let _entered = shared;
                let (_waiter, closure) = work.into_parts();
                invoke(closure, location);
            }
        }));
        report_panic(net, location);
    }
}

fn invoke(closure: Closure, location: &'static Location<'static>) {
    report_panic(panic::catch_unwind(AssertUnwindSafe(closure)), location);
}

fn report_panic(outcome: thread::Result<()>, location: &'static Location<'static>) {
    if let Err(payload) = outcome {
        // Neither the report nor the payload's destructor may keep the next callback from running.
        contain(|| report(&CallError { location, payload }));
    }
}

/// A callback panicked. Given to the handler of
/// [`set_exception_handler`](super::set_exception_handler).
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::set_exception_handler(|error| {
///     assert_eq!(error.message(), "on purpose");
///     eprintln!("from {}: {error}", error.location());
/// });
/// shim::block_on(async {
///     shim::call_soon(|| std::panic::resume_unwind(Box::new("on purpose")));
///     shim::yield_now().await;
/// });
/// ```
pub struct CallError {
    location: &'static Location<'static>,
    payload: Box<dyn Any + Send>,
}

impl CallError {
    /// Where the callback was scheduled.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// The text of the panic.
    pub fn message(&self) -> &str {
        panic_message(&*self.payload)
    }

    /// The payload of the panic.
    pub fn payload(&self) -> &(dyn Any + Send) {
        &*self.payload
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallError")
            .field("location", &format_args!("{}", self.location))
            .field("message", &self.message())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the callback scheduled at {} panicked: {}",
            self.location,
            self.message()
        )
    }
}

impl std::error::Error for CallError {}

type Handler = Arc<dyn Fn(&CallError) + Send + Sync>;

static HANDLER: RwLock<Option<Handler>> = RwLock::new(None);

/// Sets what happens when a callback panics, on any executor of the process. By default one line on
/// standard error names the callback's call site.
///
/// The handler runs in the callback's context (CS-06), when the callback has been unwound and before
/// the next one runs. If it panics itself, the default does its work.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::set_exception_handler(|error| eprintln!("{error}"));
/// ```
pub fn set_exception_handler(f: impl Fn(&CallError) + Send + Sync + 'static) {
    let old = HANDLER
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .replace(Arc::new(f));
    drop(old);
}

fn report(error: &CallError) {
    let handler = HANDLER
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let handled = handler
        .is_some_and(|handler| panic::catch_unwind(AssertUnwindSafe(|| handler(error))).is_ok());
    if !handled {
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "aiocontextvars: {error}");
    }
}

/// Cancels a callback; made by [`call_soon`](super::call_soon) and its family. Dropping it does not
/// cancel.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::block_on(async {
///     let handle = shim::call_soon(|| unreachable!());
///     handle.cancel();
///     assert!(handle.is_cancelled());
/// });
/// ```
pub struct CallHandle {
    queue: Weak<Queue>,
    id: CallId,
    cancelled: AtomicBool,
}

impl CallHandle {
    pub(crate) fn new(queue: &Arc<Queue>, id: CallId) -> CallHandle {
        CallHandle {
            queue: Arc::downgrade(queue),
            id,
            cancelled: AtomicBool::new(false),
        }
    }

    /// Drops the closure and its context at once, so that it will not be called (HD-02).
    ///
    /// Nothing happens if it has been called, is being called, or its executor is gone. A closure that stays on its
    /// thread and is cancelled from another is dropped there, at the next turn of a queue.
    pub fn cancel(&self) {
        let call = self.queue.upgrade().and_then(|queue| queue.remove(self.id));
        if let Some(call) = call {
            self.cancelled.store(true, Ordering::Release);
            drop(call);
        }
    }

    /// Whether [`cancel`](Self::cancel) came in time.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

impl fmt::Debug for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallHandle")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// Cancels a timer; made by [`call_later`](super::call_later) and its family. Dropping it does not
/// cancel.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aiocontextvars::shim;
///
/// shim::block_on(async {
///     let start = shim::now();
///     let timer = shim::call_later(Duration::from_secs(3600), || unreachable!());
///     assert!(timer.when() >= start + Duration::from_secs(3600));
///     timer.cancel();
/// });
/// ```
pub struct TimerHandle {
    call: CallHandle,
    when: Instant,
}

impl TimerHandle {
    pub(crate) fn new(call: CallHandle, when: Instant) -> TimerHandle {
        TimerHandle { call, when }
    }

    /// As [`CallHandle::cancel`].
    pub fn cancel(&self) {
        self.call.cancel();
    }

    /// As [`CallHandle::is_cancelled`].
    pub fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// When the callback is due, on the clock of its executor.
    pub fn when(&self) -> Instant {
        self.when
    }
}

impl fmt::Debug for TimerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerHandle")
            .field("when", &self.when)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
