//! The thread's current executor: which one `shim::spawn` and its family go to.
//!
//! Kept beside the context and never in it: a context outlives runtimes and travels in messages. The
//! frame of a task names its executor by type, or weakly if the executor is a value.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::rc::{self, Rc};
use std::sync::{Arc, Weak};
use std::task::{self, Poll};

use pin_project_lite::pin_project;

use super::executor::{Executor, LocalExecutor};
use crate::context::Context;
use crate::current;
use crate::raw::{Around, Frames, Inside};
use crate::sync::thread_local;

/// What a frame knows of executors.
#[derive(Clone)]
pub(crate) struct ExecutorFrame {
    pub(crate) executor: FrameExecutor,
    pub(crate) local: Option<FrameLocal>,
    /// The context of a fixed executor, in a copy of which everything submitted from here starts.
    pub(crate) fixed: Option<Arc<Context>>,
}

/// What has come to a frame since it was entered.
struct Added {
    /// The frame of a guard, instead of the one that was entered.
    frame: Option<ExecutorFrame>,
    /// What goes to the callback queue that runs its turns in this frame, now.
    driving: Serves,
}

/// Which calls go to a queue, from the frame in which its turns run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Serves {
    /// Those that go to the current executor.
    pub(crate) anywhere: bool,
    /// Those that go to the current local executor.
    pub(crate) here: bool,
}

impl Added {
    const NOTHING: Added = Added {
        frame: None,
        driving: Serves {
            anywhere: false,
            here: false,
        },
    };
}

/// How a frame names its executor.
#[derive(Clone)]
pub enum FrameExecutor {
    /// Not at all: see the next step of the search.
    None,
    /// The tokio runtime whose worker this is.
    #[cfg(feature = "tokio")]
    Tokio,
    #[cfg(feature = "async-std")]
    AsyncStd,
    /// smol's global executor.
    #[cfg(feature = "smol")]
    Smol,
    Static(&'static dyn Executor),
    Weak(Weak<dyn Executor>),
}

/// How a frame names its local executor.
#[derive(Clone)]
pub enum FrameLocal {
    Static(&'static dyn LocalExecutor),
    Rc(rc::Weak<dyn LocalExecutor>),
    Weak(Weak<dyn LocalExecutor>),
    /// For handles that do not keep the executor alive themselves.
    Strong(Arc<dyn LocalExecutor>),
}

/// A local executor that is known to be alive.
#[derive(Clone)]
pub(crate) enum LocalRef {
    Static(&'static dyn LocalExecutor),
    Rc(Rc<dyn LocalExecutor>),
    Arc(Arc<dyn LocalExecutor>),
}

impl fmt::Debug for FrameExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameExecutor { .. }")
    }
}

impl fmt::Debug for FrameLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameLocal { .. }")
    }
}

impl FrameLocal {
    pub(crate) fn upgrade(&self) -> Option<LocalRef> {
        match self {
            FrameLocal::Static(local) => Some(LocalRef::Static(*local)),
            FrameLocal::Rc(local) => local.upgrade().map(LocalRef::Rc),
            FrameLocal::Weak(local) => local.upgrade().map(LocalRef::Arc),
            FrameLocal::Strong(local) => Some(LocalRef::Arc(Arc::clone(local))),
        }
    }

    /// Asked without upgrading, so that nobody's last reference is dropped here.
    fn is_alive(&self) -> bool {
        match self {
            FrameLocal::Static(_) | FrameLocal::Strong(_) => true,
            FrameLocal::Rc(local) => local.strong_count() > 0,
            FrameLocal::Weak(local) => local.strong_count() > 0,
        }
    }
}

impl std::ops::Deref for LocalRef {
    type Target = dyn LocalExecutor;

    fn deref(&self) -> &(dyn LocalExecutor + 'static) {
        match self {
            LocalRef::Static(local) => *local,
            LocalRef::Rc(local) => &**local,
            LocalRef::Arc(local) => &**local,
        }
    }
}

impl ExecutorFrame {
    pub(crate) const fn new(
        executor: FrameExecutor,
        local: Option<FrameLocal>,
        fixed: Option<Arc<Context>>,
    ) -> ExecutorFrame {
        ExecutorFrame {
            executor,
            local,
            fixed,
        }
    }

    /// The local executor, if the frame names one that is alive.
    pub(crate) fn upgrade_local(&self) -> Option<LocalRef> {
        self.local.as_ref().and_then(FrameLocal::upgrade)
    }

    /// The context that a new unit of work starts in.
    pub(crate) fn new_context(&self) -> Context {
        new_context(self.fixed.as_ref())
    }
}

/// The context that a new unit of work starts in: a copy of the executor's fixed one or of the current.
#[inline]
pub(crate) fn new_context(fixed: Option<&Arc<Context>>) -> Context {
    match fixed {
        Some(fixed) => Context::clone(fixed),
        None => current::inherit(),
    }
}

/// A thread that has entered nothing.
struct Nowhere;

impl Home for Nowhere {
    fn executor(&self) -> &FrameExecutor {
        const { &FrameExecutor::None }
    }
}

thread_local! {
    static FRAMES: Frames<Added, dyn Home> = const { Frames::new(Added::NOTHING, &Nowhere) };
}

/// Reads the innermost frame. `f` must not call user code.
#[inline]
pub(crate) fn peek<R>(f: impl Fn(&dyn Home) -> R) -> R {
    peek_added(|frame, _| f(frame))
}

#[inline]
fn peek_added<R>(f: impl Fn(&dyn Home, Serves) -> R) -> R {
    let peeked = Frames::here(&FRAMES).peek(|added, home| {
        let frame = match &added.frame {
            Some(frame) => frame,
            None => home,
        };
        f(frame, added.driving)
    });
    // Busy: a signal handler, which is on no executor.
    peeked.unwrap_or_else(|| f(&Nowhere, Serves::default()))
}

/// A signal handler that comes in between changes nothing.
fn replace(added: Added) -> Added {
    let replaced = Frames::here(&FRAMES).peek(|innermost, _| mem::replace(innermost, added));
    replaced.unwrap_or(Added::NOTHING)
}

/// Calls `f` while the innermost frame is that of `home`.
#[inline]
fn run_in<R>(home: &dyn Home, f: impl FnOnce() -> R) -> R {
    let mut added = Added::NOTHING;
    Frames::here(&FRAMES).enter(&mut added, home, f)
}

/// Calls `f` as on a thread that has entered nothing.
#[cfg(feature = "rayon")]
#[inline]
pub(crate) fn nowhere<R>(f: impl FnOnce() -> R) -> R {
    run_in(&Nowhere, f)
}

/// Makes `frame` the innermost one until the guard goes.
pub(crate) fn enter(frame: ExecutorFrame) -> Left {
    add(Added {
        frame: Some(frame),
        ..Added::NOTHING
    })
}

fn add(added: Added) -> Left {
    Left {
        before: replace(added),
        _not_send: PhantomData,
    }
}

/// Gives the innermost frame this fixed context until the guard goes.
#[inline]
pub(crate) fn enter_fixed(fixed: Option<Arc<Context>>) -> Option<Left> {
    let has_any = peek(|frame| frame.fixed().is_some()) || fixed.is_some();
    has_any.then(|| {
        let (frame, driving) = peek_added(|frame, driving| (frame.to_frame(), driving));
        add(Added {
            frame: Some(ExecutorFrame { fixed, ..frame }),
            driving,
        })
    })
}

/// Marks the innermost frame as one in which a callback queue runs its turns, until the guard goes.
pub(crate) fn driving(serves: Serves) -> Driving {
    Driving {
        before: set_driving(serves),
        _not_send: PhantomData,
    }
}

fn set_driving(serves: Serves) -> Serves {
    let replaced = Frames::here(&FRAMES).peek(|added, _| mem::replace(&mut added.driving, serves));
    replaced.unwrap_or_default()
}

pub(crate) struct Driving {
    before: Serves,
    _not_send: PhantomData<*const ()>,
}

impl Drop for Driving {
    fn drop(&mut self) {
        set_driving(self.before);
    }
}

/// If calls for the current executor, or for the current local one, go to the callback queue that runs its turns in
/// the innermost frame: the fixed context of those who submit there.
#[inline]
pub(crate) fn own_queue(which: impl Fn(Serves) -> bool) -> Option<Option<Arc<Context>>> {
    peek_added(|frame, driving| which(driving).then(|| frame.fixed().cloned()))
}

/// Puts the frame back that was there when dropped.
pub(crate) struct Left {
    before: Added,
    _not_send: PhantomData<*const ()>,
}

impl Drop for Left {
    fn drop(&mut self) {
        drop(replace(mem::replace(&mut self.before, Added::NOTHING)));
    }
}

/// Sends what this thread spawns to one executor until it is dropped; made by
/// [`ContextAwareExecutor::enter`](super::ContextAwareExecutor::enter).
///
/// Guards of one thread are dropped in the reverse order of their making.
///
/// # Examples
///
/// See [`ContextAwareExecutor::enter`](super::ContextAwareExecutor::enter).
#[must_use = "the executor is left when the guard is dropped; bind it to a variable: `let _guard = …`"]
pub struct EnterGuard<'a> {
    _left: Left,
    _executor: PhantomData<&'a ()>,
}

impl EnterGuard<'_> {
    pub(crate) fn new(frame: ExecutorFrame) -> Self {
        EnterGuard {
            _left: enter(frame),
            _executor: PhantomData,
        }
    }
}

impl fmt::Debug for EnterGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnterGuard").finish_non_exhaustive()
    }
}

/// Where a task runs: has the frame that it is polled and dropped in. Nothing is counted to enter one.
pub(crate) trait Home: 'static {
    fn executor(&self) -> &FrameExecutor;

    fn local(&self) -> Option<&FrameLocal> {
        None
    }

    /// The context of a fixed executor.
    fn fixed(&self) -> Option<&Arc<Context>> {
        None
    }

    /// Whether the executor itself has entered this frame, so that nobody has to ask if it runs on this thread.
    #[cfg(feature = "tokio")]
    fn is_on_its_runtime(&self) -> bool {
        false
    }

    /// The home of a poll, which the executor makes. A drop may be anybody's.
    #[inline]
    fn polled(&self) -> &dyn Home
    where
        Self: Sized,
    {
        self
    }
}

impl dyn Home {
    pub(crate) fn has_live_local(&self) -> bool {
        self.local().is_some_and(FrameLocal::is_alive)
    }

    pub(crate) fn to_frame(&self) -> ExecutorFrame {
        ExecutorFrame {
            executor: self.executor().clone(),
            local: self.local().cloned(),
            fixed: self.fixed().cloned(),
        }
    }
}

impl Home for ExecutorFrame {
    fn executor(&self) -> &FrameExecutor {
        &self.executor
    }

    fn local(&self) -> Option<&FrameLocal> {
        self.local.as_ref()
    }

    fn fixed(&self) -> Option<&Arc<Context>> {
        self.fixed.as_ref()
    }
}

/// A home on an executor that is a value. Unlike [`ExecutorFrame`], it is `Send`.
#[derive(Clone)]
pub(crate) struct ValueHome {
    pub(crate) executor: FrameExecutor,
    pub(crate) fixed: Option<Arc<Context>>,
}

impl Home for ValueHome {
    fn executor(&self) -> &FrameExecutor {
        &self.executor
    }

    fn fixed(&self) -> Option<&Arc<Context>> {
        self.fixed.as_ref()
    }
}

pin_project! {
    /// A future that is polled and dropped in the frame of its home.
    pub(crate) struct InHome<F, H: Home> {
        #[pin]
        inside: Inside<F, AtHome<H>>,
    }
}

impl<F, H: Home> InHome<F, H> {
    pub(crate) fn new(home: H, inner: F) -> InHome<F, H> {
        InHome {
            inside: Inside::new(AtHome(home), inner),
        }
    }
}

impl<F: Future, H: Home> Future for InHome<F, H> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let (AtHome(home), inner) = self.project().inside.project();
        run_in(home.polled(), || inner.poll(cx))
    }
}

struct AtHome<H: Home>(H);

impl<H: Home> Around for AtHome<H> {
    #[inline]
    fn around(&mut self, f: impl FnOnce()) {
        run_in(&self.0, f);
    }
}
