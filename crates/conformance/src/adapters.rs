//! Harnesses for what is wrapped in a [`ContextAwareExecutor`].

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aiocontextvars::shim::{
    self, CallHandle, ContextAwareExecutor, Executor, JoinHandle, LocalExecutor, TimerHandle,
};
use aiocontextvars::{Context, TaskContext};
use futures::future::BoxFuture;
use futures::task::{LocalSpawnExt, SpawnExt};

use crate::harness::{FromOtherThreads, Harness, Nested, Wrapped};

/// An executor that somebody has to drive, such as the main loop of a graphical interface.
///
/// [`Suite::driven`](crate::Suite::driven) is for those whose [`Executor`](Driven::Executor) other
/// threads can submit work to, and [`Suite::local`](crate::Suite::local) for those whose tasks stay
/// on one thread. All but what other threads of the executor run happens on the thread that calls
/// [`start`](Driven::start), so the type need not be `Send`.
///
/// # Examples
///
/// ```
/// use std::{cell::RefCell, collections::VecDeque, future::Future, pin::pin, rc::Rc, sync::Arc, thread};
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::task::{Context, Poll, Wake, Waker};
/// use aiocontextvars::ContextExt;
/// use aiocontextvars_conformance::{Driven, Suite};
/// use aiocontextvars::shim::{self, ContextAwareExecutor, LocalExecutor, LocalRunnable};
///
/// #[derive(Default)]
/// struct Steps(RefCell<VecDeque<LocalRunnable>>);
///
/// impl LocalExecutor for Steps {
///     fn schedule_local(&self, task: LocalRunnable) {
///         self.0.borrow_mut().push_back(task);
///     }
/// }
///
/// struct Main {
///     thread: thread::Thread,
///     is_woken: AtomicBool,
/// }
///
/// impl Wake for Main {
///     fn wake(self: Arc<Self>) {
///         self.is_woken.store(true, Ordering::SeqCst);
///         self.thread.unpark();
///     }
/// }
///
/// impl Steps {
///     fn run_until<F: Future>(&self, future: F) -> F::Output {
///         let main = Arc::new(Main { thread: thread::current(), is_woken: AtomicBool::new(true) });
///         let waker = Waker::from(Arc::clone(&main));
///         let mut future = pin!(future);
///         loop {
///             if main.is_woken.swap(false, Ordering::SeqCst) {
///                 let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
///                 if let Poll::Ready(output) = polled {
///                     return output;
///                 }
///             }
///             // What a poll or a step blocks on may have used up the unparking.
///             shim::deliver_remote_wakes();
///             let step = self.0.borrow_mut().pop_front();
///             match step {
///                 Some(step) => step.run(),
///                 None if main.is_woken.load(Ordering::SeqCst) => {}
///                 None => thread::park(),
///             }
///         }
///     }
/// }
///
/// struct OneThread(Rc<Steps>);
///
/// impl Driven for OneThread {
///     type Executor = Rc<Steps>;
///
///     fn start() -> Self {
///         OneThread(Rc::default())
///     }
///
///     fn executor(&self) -> Rc<Steps> {
///         Rc::clone(&self.0)
///     }
///
///     fn block_on<F: Future>(&self, wrapper: &ContextAwareExecutor<Rc<Steps>>, future: F) -> F::Output {
///         // What `shim::spawn_local` finds, and a copy of the context.
///         let _entered = wrapper.enter_local();
///         self.0.run_until(future.in_current_context())
///     }
/// }
///
/// Suite::local::<OneThread>().check();
/// ```
pub trait Driven: Sized + 'static {
    /// What is wrapped: an [`Executor`], or a [`LocalExecutor`].
    type Executor: Clone;

    /// As for a [`Harness`](Harness::NESTED_BLOCK_ON).
    const NESTED_BLOCK_ON: Nested = Nested::Either;

    /// As for a [`Harness`](Harness::HAS_LOCAL).
    const HAS_LOCAL: Option<bool> = None;

    /// A new executor, for one row.
    fn start() -> Self;

    /// What the row wraps, once.
    fn executor(&self) -> Self::Executor;

    /// Runs `future` in a copy of the current context, with the executor as the current one, and
    /// the executor with it.
    ///
    /// `wrapper` is the executor in its wrapper: [`enter`](ContextAwareExecutor::enter) makes it
    /// the current one, and [`enter_local`](ContextAwareExecutor::enter_local) a local one.
    fn block_on<F: Future>(
        &self,
        wrapper: &ContextAwareExecutor<Self::Executor>,
        future: F,
    ) -> F::Output;
}

/// The harness of an executor that other threads can submit work to: the free functions of the shim
/// find it.
#[derive(Debug)]
pub struct Anywhere<D: Driven> {
    driven: D,
    wrapper: ContextAwareExecutor<D::Executor>,
}

impl<D: Driven> Harness for Anywhere<D>
where
    D::Executor: Executor,
{
    const NESTED_BLOCK_ON: Nested = D::NESTED_BLOCK_ON;

    const HAS_LOCAL: Option<bool> = D::HAS_LOCAL;

    fn start() -> Self {
        let driven = D::start();
        Anywhere {
            wrapper: ContextAwareExecutor::new(driven.executor()),
            driven,
        }
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.driven.block_on(&self.wrapper, future)
    }
}

impl<D: Driven> Wrapped for Anywhere<D>
where
    D::Executor: Executor,
{
    fn spawn_obj(&self, future: BoxFuture<'static, ()>) {
        SpawnExt::spawn(&self.wrapper, future).unwrap();
    }

    fn spawn_fixed<F>(&self, context: Context, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        ContextAwareExecutor::fixed(self.driven.executor(), context).spawn(future)
    }
}

impl<D: Driven> FromOtherThreads for Anywhere<D>
where
    D::Executor: Executor,
{
    type Executor = D::Executor;

    fn wrapper(&self) -> ContextAwareExecutor<D::Executor> {
        self.wrapper.clone()
    }
}

/// The harness of an executor of one thread: its tasks and callbacks need not be `Send`, and stay
/// on the thread.
#[derive(Debug)]
pub struct OneThread<D: Driven> {
    driven: D,
    wrapper: ContextAwareExecutor<D::Executor>,
}

thread_local! {
    /// The wrapper of the executor that this thread runs.
    static CURRENT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

impl<D: Driven> OneThread<D>
where
    D::Executor: LocalExecutor,
{
    fn current() -> ContextAwareExecutor<D::Executor> {
        CURRENT.with_borrow(|current| {
            let current = current.as_ref().expect("the executor is running");
            current
                .downcast_ref::<ContextAwareExecutor<D::Executor>>()
                .expect("a thread runs one executor")
                .clone()
        })
    }
}

impl<D: Driven> Harness for OneThread<D>
where
    D::Executor: LocalExecutor,
{
    const NESTED_BLOCK_ON: Nested = D::NESTED_BLOCK_ON;

    const HAS_LOCAL: Option<bool> = Some(true);

    const STAYS: bool = true;

    fn start() -> Self {
        let driven = D::start();
        OneThread {
            wrapper: ContextAwareExecutor::new(driven.executor()),
            driven,
        }
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let outer = CURRENT.replace(Some(Box::new(self.wrapper.clone())));
        let output = self.driven.block_on(&self.wrapper, future);
        CURRENT.set(outer);
        output
    }

    fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        shim::spawn_local(future)
    }

    fn spawn_in<C: TaskContext, F>(context: C, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Self::current().spawn_local_in(context, future)
    }

    #[track_caller]
    fn call_soon(f: impl FnOnce() + Send + 'static) -> CallHandle {
        shim::call_soon_local(f)
    }

    #[track_caller]
    fn call_soon_in<C: TaskContext>(context: C, f: impl FnOnce() + Send + 'static) -> CallHandle {
        Self::current().call_soon_local_in(context, f)
    }

    #[track_caller]
    fn call_later(delay: Duration, f: impl FnOnce() + Send + 'static) -> TimerHandle {
        Self::current().call_later_local(delay, f)
    }

    #[track_caller]
    fn call_at(when: Instant, f: impl FnOnce() + Send + 'static) -> TimerHandle {
        Self::current().call_at_local(when, f)
    }
}

impl<D: Driven> Wrapped for OneThread<D>
where
    D::Executor: LocalExecutor,
{
    fn spawn_obj(&self, future: BoxFuture<'static, ()>) {
        LocalSpawnExt::spawn_local(&self.wrapper, future).unwrap();
    }

    fn spawn_fixed<F>(&self, context: Context, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        ContextAwareExecutor::fixed(self.driven.executor(), context).spawn_local(future)
    }
}

/// An executor with threads of its own, made by what was [`register`](Made::register)ed.
pub(crate) struct Made(Arc<dyn Executor>);

pub(crate) type Make = Arc<dyn Fn() -> Arc<dyn Executor> + Send + Sync>;

static MAKE: Mutex<Option<Make>> = Mutex::new(None);

impl Made {
    /// Has the rows use `make`, until what is returned is dropped.
    pub(crate) fn register(make: Make) -> Registered {
        let before = replace_make(Some(make));
        drop(before);
        Registered(())
    }
}

/// The user's function is called and dropped without the lock.
fn replace_make(make: Option<Make>) -> Option<Make> {
    let mut place = MAKE.lock().unwrap_or_else(PoisonError::into_inner);
    mem::replace(&mut *place, make)
}

/// Drops what makes the executors.
pub(crate) struct Registered(());

impl Drop for Registered {
    fn drop(&mut self) {
        let make = replace_make(None);
        drop(make);
    }
}

impl Driven for Made {
    type Executor = Arc<dyn Executor>;

    fn start() -> Self {
        let make = MAKE.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The user's code: without the lock.
        let executor = make.expect("what makes it is registered")();
        Made(executor)
    }

    fn executor(&self) -> Arc<dyn Executor> {
        Arc::clone(&self.0)
    }

    fn block_on<F: Future>(
        &self,
        wrapper: &ContextAwareExecutor<Arc<dyn Executor>>,
        future: F,
    ) -> F::Output {
        wrapper.block_on(future)
    }
}
