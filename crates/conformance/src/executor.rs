//! [`Executor`]: the executor under test as rows see it.

use std::any::{Any, type_name};
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{self, Poll, ready};
use std::time::{Duration, Instant};

use aiocontextvars::shim::{
    self, CallHandle, ContextAwareExecutor, JoinError, JoinHandle, Runner, TimerHandle,
};
use aiocontextvars::{Context, SharedContext};
use futures::channel::oneshot;
use futures::future::{BoxFuture, LocalBoxFuture};

use crate::harness::{FromOtherThreads, Harness, Nested, Wrapped};

/// The file whose lines reports of callbacks name, if they are scheduled by an [`Executor`].
pub(crate) const CALL_SITES: &str = file!();

/// The executor of a row.
pub(crate) type On = &'static Executor;

/// The executor of a row about what is wrapped.
pub(crate) type OnWrapped = &'static Executor<dyn AnyWrapped>;

/// The executor of a row in which another thread submits work.
pub(crate) type OnRemote = &'static Executor<dyn AnyRemote>;

/// An executor under test, without its type: a [`Harness`] as a table of functions. So the rows are
/// compiled once, and not for each executor.
///
/// The runtime knows neither the futures that it is given nor their outputs; a row about both is
/// `typed`.
pub(crate) struct Executor<S: ?Sized + 'static = dyn AnyHarness> {
    name: fn() -> &'static str,
    pub(crate) nested_block_on: Nested,
    pub(crate) has_local: Option<bool>,
    /// Whether tasks and callbacks stay on the thread.
    pub(crate) stays: bool,
    start: fn() -> Box<S>,
    spawn: fn(Work) -> JoinHandle<Output>,
    spawn_in: fn(Given<'_>, Work) -> JoinHandle<Output>,
    call_soon: fn(Call) -> CallHandle,
    call_soon_in: fn(Given<'_>, Call) -> CallHandle,
    call_later: fn(Duration, Call) -> TimerHandle,
    call_at: fn(Instant, Call) -> TimerHandle,
}

type Output = Box<dyn Any + Send>;

type Work = BoxFuture<'static, Output>;

type Call = Box<dyn FnOnce() + Send>;

/// A context to start in.
pub(crate) enum Given<'a> {
    Own(Context),
    Shared(SharedContext),
    Borrowed(&'a SharedContext),
}

impl From<Context> for Given<'_> {
    fn from(context: Context) -> Self {
        Given::Own(context)
    }
}

impl From<SharedContext> for Given<'_> {
    fn from(context: SharedContext) -> Self {
        Given::Shared(context)
    }
}

impl<'a> From<&'a SharedContext> for Given<'a> {
    fn from(context: &'a SharedContext) -> Self {
        Given::Borrowed(context)
    }
}

impl Executor {
    pub(crate) const fn of<H: Harness>() -> On {
        const { &Executor::new::<H>(|| Box::new(H::start())) }
    }
}

impl Executor<dyn AnyWrapped> {
    pub(crate) const fn wrapped<H: Wrapped>() -> OnWrapped {
        const { &Executor::new::<H>(|| Box::new(H::start())) }
    }
}

impl Executor<dyn AnyRemote> {
    pub(crate) const fn remote<H: FromOtherThreads>() -> OnRemote {
        const { &Executor::new::<H>(|| Box::new(H::start())) }
    }
}

impl<S: ?Sized + 'static> Executor<S> {
    const fn new<H: Harness>(start: fn() -> Box<S>) -> Executor<S> {
        Executor {
            name: type_name::<H>,
            nested_block_on: H::NESTED_BLOCK_ON,
            has_local: H::HAS_LOCAL,
            stays: H::STAYS,
            start,
            spawn: |work| H::spawn(work),
            spawn_in: |context, work| match context {
                Given::Own(context) => H::spawn_in(context, work),
                Given::Shared(context) => H::spawn_in(context, work),
                Given::Borrowed(context) => H::spawn_in(context, work),
            },
            call_soon: |f| H::call_soon(f),
            call_soon_in: |context, f| match context {
                Given::Own(context) => H::call_soon_in(context, f),
                Given::Shared(context) => H::call_soon_in(context, f),
                Given::Borrowed(context) => H::call_soon_in(context, f),
            },
            call_later: |delay, f| H::call_later(delay, f),
            call_at: |when, f| H::call_at(when, f),
        }
    }

    /// What no other executor is called.
    pub(crate) fn name(&self) -> &'static str {
        (self.name)()
    }

    /// A new one.
    pub(crate) fn start(&self) -> Running<S> {
        Running((self.start)())
    }

    /// Spawns a task on the executor that runs.
    pub(crate) fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Task::new((self.spawn)(erase(future)))
    }

    pub(crate) fn spawn_in<'a, F>(
        &self,
        context: impl Into<Given<'a>>,
        future: F,
    ) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Task::new((self.spawn_in)(context.into(), erase(future)))
    }

    pub(crate) fn call_soon(&self, f: impl FnOnce() + Send + 'static) -> CallHandle {
        (self.call_soon)(Box::new(f))
    }

    pub(crate) fn call_soon_in<'a>(
        &self,
        context: impl Into<Given<'a>>,
        f: impl FnOnce() + Send + 'static,
    ) -> CallHandle {
        (self.call_soon_in)(context.into(), Box::new(f))
    }

    pub(crate) fn call_later(
        &self,
        delay: Duration,
        f: impl FnOnce() + Send + 'static,
    ) -> TimerHandle {
        (self.call_later)(delay, Box::new(f))
    }

    pub(crate) fn call_at(&self, when: Instant, f: impl FnOnce() + Send + 'static) -> TimerHandle {
        (self.call_at)(when, Box::new(f))
    }

    /// Waits until the callbacks that have been scheduled so far have run.
    pub(crate) async fn callbacks_so_far(&self) {
        let (done, wait) = oneshot::channel();
        self.call_soon(move || done.send(()).unwrap());
        wait.await.unwrap();
    }

    /// Keeps callbacks from running, also on other threads, until what it returns is dropped; that
    /// has to be before the next await, because the queue may be on this thread.
    pub(crate) fn hold_the_queue(&self) -> mpsc::Sender<()> {
        let (held, released) = mpsc::channel::<()>();
        self.call_soon(move || assert!(released.recv().is_err()));
        held
    }

    /// Calls `f` in a callback, so that no other callback and no timer of the queue runs meanwhile.
    pub(crate) async fn in_a_callback<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (done, wait) = oneshot::channel();
        self.call_soon(move || drop(done.send(f())));
        wait.await.unwrap()
    }
}

/// An executor that has been started.
pub(crate) struct Running<S: ?Sized = dyn AnyHarness>(Box<S>);

impl<S: AnyHarness + ?Sized> Running<S> {
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut output = None;
        self.0.block_on(Box::pin(Storing {
            future: Box::pin(future),
            output: &mut output,
        }));
        output.expect("the future has ended")
    }

    pub(crate) fn runner(self) -> Runner {
        self.0.runner()
    }
}

impl Running<dyn AnyWrapped> {
    /// Spawns through the wrapper's `futures::task::Spawn` or `LocalSpawn`.
    pub(crate) fn spawn_obj(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn_obj(Box::pin(future));
    }

    /// Spawns on a wrapper that starts everything in a copy of `context`.
    pub(crate) fn spawn_fixed<F>(&self, context: Context, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Task::new(self.0.spawn_fixed(context, erase(future)))
    }
}

impl Running<dyn AnyRemote> {
    pub(crate) fn wrapper(&self) -> Wrapper {
        Wrapper(self.0.wrapper())
    }
}

/// A [`Harness`] without its type.
pub(crate) trait AnyHarness {
    fn block_on(&self, future: LocalBoxFuture<'_, ()>);

    fn runner(self: Box<Self>) -> Runner;
}

impl<H: Harness> AnyHarness for H {
    fn block_on(&self, future: LocalBoxFuture<'_, ()>) {
        Harness::block_on(self, future);
    }

    fn runner(self: Box<Self>) -> Runner {
        Harness::runner(*self)
    }
}

pub(crate) trait AnyWrapped: AnyHarness {
    fn spawn_obj(&self, future: BoxFuture<'static, ()>);

    fn spawn_fixed(&self, context: Context, work: Work) -> JoinHandle<Output>;
}

impl<H: Wrapped> AnyWrapped for H {
    fn spawn_obj(&self, future: BoxFuture<'static, ()>) {
        Wrapped::spawn_obj(self, future);
    }

    fn spawn_fixed(&self, context: Context, work: Work) -> JoinHandle<Output> {
        Wrapped::spawn_fixed(self, context, work)
    }
}

pub(crate) trait AnyRemote: AnyHarness {
    fn wrapper(&self) -> Box<dyn AnyWrapper>;
}

impl<H: FromOtherThreads> AnyRemote for H {
    fn wrapper(&self) -> Box<dyn AnyWrapper> {
        Box::new(FromOtherThreads::wrapper(self))
    }
}

/// A [`ContextAwareExecutor`] that any thread may submit work to, without its type.
pub(crate) struct Wrapper(Box<dyn AnyWrapper>);

impl Wrapper {
    pub(crate) fn now(&self) -> Instant {
        self.0.now()
    }

    pub(crate) fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Task::new(self.0.spawn(erase(future)))
    }

    pub(crate) fn call_soon(&self, f: impl FnOnce() + Send + 'static) -> CallHandle {
        self.0.call_soon(Box::new(f))
    }

    pub(crate) fn call_later(
        &self,
        delay: Duration,
        f: impl FnOnce() + Send + 'static,
    ) -> TimerHandle {
        self.0.call_later(delay, Box::new(f))
    }

    pub(crate) fn call_at(&self, when: Instant, f: impl FnOnce() + Send + 'static) -> TimerHandle {
        self.0.call_at(when, Box::new(f))
    }
}

impl Clone for Wrapper {
    /// A wrapper of its own, and not the same one twice.
    fn clone(&self) -> Wrapper {
        Wrapper(self.0.cloned())
    }
}

pub(crate) trait AnyWrapper: Send + Sync {
    fn cloned(&self) -> Box<dyn AnyWrapper>;
    fn now(&self) -> Instant;
    fn spawn(&self, work: Work) -> JoinHandle<Output>;
    fn call_soon(&self, f: Call) -> CallHandle;
    fn call_later(&self, delay: Duration, f: Call) -> TimerHandle;
    fn call_at(&self, when: Instant, f: Call) -> TimerHandle;
}

impl<E: shim::Executor + Clone> AnyWrapper for ContextAwareExecutor<E> {
    fn cloned(&self) -> Box<dyn AnyWrapper> {
        Box::new(self.clone())
    }

    fn now(&self) -> Instant {
        self.get_ref().clock().now()
    }

    fn spawn(&self, work: Work) -> JoinHandle<Output> {
        self.spawn(work)
    }

    fn call_soon(&self, f: Call) -> CallHandle {
        self.call_soon(f)
    }

    fn call_later(&self, delay: Duration, f: Call) -> TimerHandle {
        self.call_later(delay, f)
    }

    fn call_at(&self, when: Instant, f: Call) -> TimerHandle {
        self.call_at(when, f)
    }
}

/// A future whose output has no type. As the one inside, it is dropped by the runtime, and not when
/// it ends.
struct Erased<T>(BoxFuture<'static, T>);

fn erase<F>(future: F) -> Work
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Box::pin(Erased(Box::pin(future)))
}

impl<T: Send + 'static> Future for Erased<T> {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Output> {
        let output = ready!(self.0.as_mut().poll(cx));
        Poll::Ready(Box::new(output))
    }
}

/// The same for one that is blocked on, whose output goes somewhere else.
struct Storing<'a, F: Future> {
    future: Pin<Box<F>>,
    output: &'a mut Option<F::Output>,
}

impl<F: Future> Future for Storing<'_, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let output = ready!(self.future.as_mut().poll(cx));
        *self.output = Some(output);
        Poll::Ready(())
    }
}

/// The [`JoinHandle`] of a task with this output.
#[must_use = "dropping the handle detaches the task; call `detach` to say so, or await it"]
pub(crate) struct Task<T> {
    handle: JoinHandle<Output>,
    output: PhantomData<fn() -> T>,
}

impl<T: 'static> Task<T> {
    fn new(handle: JoinHandle<Output>) -> Task<T> {
        Task {
            handle,
            output: PhantomData,
        }
    }

    fn output(output: Output) -> T {
        *output.downcast().expect("it is the task's output")
    }

    pub(crate) fn detach(self) {
        self.handle.detach();
    }
}

impl<T> Deref for Task<T> {
    type Target = JoinHandle<Output>;

    fn deref(&self) -> &JoinHandle<Output> {
        &self.handle
    }
}

impl<T: 'static> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(Pin::new(&mut self.handle).poll(cx));
        Poll::Ready(ended.map(Task::output))
    }
}
