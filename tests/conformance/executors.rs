//! The executors under test.

use std::future::Future;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use aiocontextvars::event_loop::{EventLoop, LoopHandle};
use aiocontextvars::shim::{ContextAwareExecutor, FromSchedule, Runnable};
use aiocontextvars_conformance::{Anywhere, Driven, Nested};

/// For an executor that its wrapper can block on.
macro_rules! block_on_the_wrapper {
    ($block_on:ident) => {
        fn block_on<F: Future>(
            &self,
            wrapper: &ContextAwareExecutor<Self::Executor>,
            future: F,
        ) -> F::Output {
            wrapper.$block_on(future)
        }
    };
}

pub(crate) mod event_loop {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    use aiocontextvars::shim::{self, CallHandle, JoinHandle, TimerHandle};
    use aiocontextvars::{Context, TaskContext};
    use aiocontextvars_conformance::Wrapped;
    use futures::future::BoxFuture;
    use futures::task::SpawnExt;

    /// The event loop, on its own thread.
    pub(crate) struct Harness(Rc<EventLoop>);

    thread_local! {
        static RUNNING: RefCell<Option<Rc<EventLoop>>> = const { RefCell::new(None) };
    }

    fn running() -> Rc<EventLoop> {
        RUNNING.with_borrow(|running| Rc::clone(running.as_ref().expect("the loop is running")))
    }

    impl aiocontextvars_conformance::Harness for Harness {
        const NESTED_BLOCK_ON: Nested = Nested::Refused;

        const HAS_LOCAL: Option<bool> = Some(true);

        const STAYS: bool = true;

        fn start() -> Self {
            Harness(Rc::new(EventLoop::new()))
        }

        fn block_on<F: Future>(&self, future: F) -> F::Output {
            let outer = RUNNING.replace(Some(Rc::clone(&self.0)));
            let output = self.0.run_until_complete(future);
            RUNNING.set(outer);
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
            running().spawn_in(context, future)
        }

        #[track_caller]
        fn call_soon(f: impl FnOnce() + Send + 'static) -> CallHandle {
            running().call_soon(f)
        }

        #[track_caller]
        fn call_soon_in<C: TaskContext>(
            context: C,
            f: impl FnOnce() + Send + 'static,
        ) -> CallHandle {
            running().call_soon_in(context, f)
        }

        #[track_caller]
        fn call_later(delay: Duration, f: impl FnOnce() + Send + 'static) -> TimerHandle {
            running().call_later(delay, f)
        }

        #[track_caller]
        fn call_at(when: Instant, f: impl FnOnce() + Send + 'static) -> TimerHandle {
            running().call_at(when, f)
        }
    }

    impl Wrapped for Harness {
        fn spawn_obj(&self, future: BoxFuture<'static, ()>) {
            SpawnExt::spawn(&ContextAwareExecutor::new(self.0.handle()), future).unwrap();
        }

        fn spawn_fixed<F>(&self, context: Context, future: F) -> JoinHandle<F::Output>
        where
            F: Future + Send + 'static,
            F::Output: Send + 'static,
        {
            ContextAwareExecutor::fixed(self.0.handle(), context).spawn(future)
        }
    }
}

pub(crate) mod event_loop_handle {
    use super::*;

    pub(crate) type Harness = Anywhere<Handle>;

    /// The event loop, through its handle.
    pub(crate) struct Handle(EventLoop);

    impl Driven for Handle {
        const NESTED_BLOCK_ON: Nested = Nested::Refused;

        const HAS_LOCAL: Option<bool> = Some(true);

        type Executor = LoopHandle;

        fn start() -> Self {
            Handle(EventLoop::new())
        }

        fn executor(&self) -> LoopHandle {
            self.0.handle()
        }

        fn block_on<F: Future>(
            &self,
            _: &ContextAwareExecutor<LoopHandle>,
            future: F,
        ) -> F::Output {
            self.0.run_until_complete(future)
        }
    }
}

#[cfg(feature = "tokio")]
pub(crate) mod tokio_multi_thread {
    use super::*;
    use tokio::runtime::{Builder, Handle, Runtime};

    pub(crate) type Harness = Anywhere<MultiThread>;

    pub(crate) struct MultiThread(Runtime);

    impl Driven for MultiThread {
        const NESTED_BLOCK_ON: Nested = Nested::Works;

        const HAS_LOCAL: Option<bool> = Some(false);

        type Executor = Handle;

        fn start() -> Self {
            let mut builder = Builder::new_multi_thread();
            MultiThread(builder.worker_threads(2).enable_time().build().unwrap())
        }

        fn executor(&self) -> Handle {
            self.0.handle().clone()
        }

        block_on_the_wrapper!(block_on);
    }
}

#[cfg(feature = "tokio")]
pub(crate) mod tokio_current_thread {
    use super::*;
    use aiocontextvars::ContextExt;
    use tokio::runtime::{Builder, Handle, Runtime};

    pub(crate) type Harness = Anywhere<CurrentThread>;

    pub(crate) struct CurrentThread(Runtime);

    impl Driven for CurrentThread {
        const NESTED_BLOCK_ON: Nested = Nested::Refused;

        const HAS_LOCAL: Option<bool> = Some(false);

        type Executor = Handle;

        fn start() -> Self {
            let mut builder = Builder::new_current_thread();
            CurrentThread(builder.enable_time().build().unwrap())
        }

        fn executor(&self) -> Handle {
            self.0.handle().clone()
        }

        fn block_on<F: Future>(&self, _: &ContextAwareExecutor<Handle>, future: F) -> F::Output {
            // Only the runtime itself can drive its tasks and timers.
            self.0.block_on(future.in_current_context())
        }
    }
}

#[cfg(feature = "tokio")]
pub(crate) mod tokio_local_set {
    use super::*;
    use aiocontextvars::ContextExt;
    use aiocontextvars_conformance::OneThread;
    use std::rc::Rc;
    use tokio::runtime::{Builder, Runtime};
    use tokio::task::LocalSet;

    pub(crate) type Harness = OneThread<Set>;

    pub(crate) struct Set {
        runtime: Runtime,
        set: Rc<LocalSet>,
    }

    impl Driven for Set {
        const NESTED_BLOCK_ON: Nested = Nested::Refused;

        type Executor = Rc<LocalSet>;

        fn start() -> Self {
            let mut builder = Builder::new_current_thread();
            Set {
                runtime: builder.enable_time().build().unwrap(),
                set: Rc::new(LocalSet::new()),
            }
        }

        fn executor(&self) -> Rc<LocalSet> {
            Rc::clone(&self.set)
        }

        fn block_on<F: Future>(
            &self,
            wrapper: &ContextAwareExecutor<Rc<LocalSet>>,
            future: F,
        ) -> F::Output {
            let _entered = wrapper.enter_local();
            self.set
                .block_on(&self.runtime, future.in_current_context())
        }
    }
}

#[cfg(feature = "async-std")]
pub(crate) mod async_std_global {
    use super::*;
    use aiocontextvars::shim::async_std::{self, Global};

    pub(crate) type Harness = Anywhere<AsyncStd>;

    pub(crate) struct AsyncStd;

    impl Driven for AsyncStd {
        // It has as many threads as the machine has processors, which may be one.
        const NESTED_BLOCK_ON: Nested = Nested::WorksAlone;

        const HAS_LOCAL: Option<bool> = Some(false);

        type Executor = Global;

        fn start() -> Self {
            AsyncStd
        }

        fn executor(&self) -> Global {
            async_std::executor().into_inner()
        }

        block_on_the_wrapper!(block_on);
    }
}

#[cfg(feature = "smol")]
pub(crate) mod smol_global {
    use super::*;
    use aiocontextvars::shim::smol::{self, Global};

    pub(crate) type Harness = Anywhere<Smol>;

    pub(crate) struct Smol;

    impl Driven for Smol {
        // The global executor has one thread, unless `SMOL_THREADS` says otherwise.
        const NESTED_BLOCK_ON: Nested = Nested::WorksAlone;

        const HAS_LOCAL: Option<bool> = Some(false);

        type Executor = Global;

        fn start() -> Self {
            Smol
        }

        fn executor(&self) -> Global {
            smol::executor().into_inner()
        }

        block_on_the_wrapper!(block_on);
    }
}

#[cfg(feature = "smol")]
pub(crate) mod smol_executor {
    use super::*;
    use ::smol::Executor;

    pub(crate) type Harness = Anywhere<Value>;

    /// An executor that runs on the thread that blocks on it.
    pub(crate) struct Value(Arc<Executor<'static>>);

    impl Driven for Value {
        const NESTED_BLOCK_ON: Nested = Nested::Works;

        const HAS_LOCAL: Option<bool> = Some(false);

        type Executor = Arc<Executor<'static>>;

        fn start() -> Self {
            Value(Arc::new(Executor::new()))
        }

        fn executor(&self) -> Arc<Executor<'static>> {
            Arc::clone(&self.0)
        }

        block_on_the_wrapper!(block_on);
    }
}

#[cfg(feature = "smol")]
pub(crate) mod smol_local_executor {
    use super::*;
    use ::smol::LocalExecutor;
    use aiocontextvars_conformance::OneThread;
    use std::rc::Rc;

    pub(crate) type Harness = OneThread<Value>;

    pub(crate) struct Value(Rc<LocalExecutor<'static>>);

    impl Driven for Value {
        const NESTED_BLOCK_ON: Nested = Nested::Works;

        type Executor = Rc<LocalExecutor<'static>>;

        fn start() -> Self {
            Value(Rc::new(LocalExecutor::new()))
        }

        fn executor(&self) -> Rc<LocalExecutor<'static>> {
            Rc::clone(&self.0)
        }

        block_on_the_wrapper!(block_on_local);
    }
}

#[cfg(feature = "rayon")]
pub(crate) mod rayon_thread_pool {
    use super::*;
    use rayon::{ThreadPool, ThreadPoolBuilder};

    pub(crate) type Harness = Anywhere<Pool>;

    pub(crate) struct Pool(Arc<ThreadPool>);

    impl Driven for Pool {
        const NESTED_BLOCK_ON: Nested = Nested::Refused;

        const HAS_LOCAL: Option<bool> = Some(false);

        type Executor = Arc<ThreadPool>;

        fn start() -> Self {
            // A task that yields until something comes from another thread would keep the only one
            // of a pool of one.
            let builder = ThreadPoolBuilder::new().num_threads(2);
            Pool(Arc::new(builder.build().unwrap()))
        }

        fn executor(&self) -> Arc<ThreadPool> {
            Arc::clone(&self.0)
        }

        block_on_the_wrapper!(block_on);
    }
}

#[cfg(feature = "futures-executor")]
pub(crate) mod futures_thread_pool {
    use super::*;
    use futures::executor::ThreadPool;

    pub(crate) type Harness = Anywhere<Pool>;

    pub(crate) struct Pool(ThreadPool);

    impl Driven for Pool {
        const NESTED_BLOCK_ON: Nested = Nested::Refused;

        const HAS_LOCAL: Option<bool> = Some(false);

        type Executor = ThreadPool;

        fn start() -> Self {
            let mut builder = ThreadPool::builder();
            Pool(builder.pool_size(2).create().unwrap())
        }

        fn executor(&self) -> ThreadPool {
            self.0.clone()
        }

        block_on_the_wrapper!(block_on);
    }
}

#[cfg(feature = "futures-executor")]
pub(crate) mod futures_local_pool {
    use super::*;
    use aiocontextvars::ContextExt;
    use aiocontextvars_conformance::OneThread;
    use std::cell::RefCell;

    use futures::executor::{LocalPool, LocalSpawner};

    pub(crate) type Harness = OneThread<Pool>;

    pub(crate) struct Pool {
        pool: RefCell<LocalPool>,
        spawner: LocalSpawner,
    }

    impl Driven for Pool {
        const NESTED_BLOCK_ON: Nested = Nested::Refused;

        type Executor = LocalSpawner;

        fn start() -> Self {
            let pool = LocalPool::new();
            Pool {
                spawner: pool.spawner(),
                pool: RefCell::new(pool),
            }
        }

        fn executor(&self) -> LocalSpawner {
            self.spawner.clone()
        }

        fn block_on<F: Future>(
            &self,
            wrapper: &ContextAwareExecutor<LocalSpawner>,
            future: F,
        ) -> F::Output {
            let _entered = wrapper.enter_local();
            let mut pool = self.pool.borrow_mut();
            pool.run_until(future.in_current_context())
        }
    }
}

pub(crate) mod from_schedule {
    use super::*;

    pub(crate) type Harness = Anywhere<Closure>;

    /// Two threads that run what a closure sends them.
    pub(crate) struct Closure(FromSchedule);

    impl Driven for Closure {
        const NESTED_BLOCK_ON: Nested = Nested::Refused;

        const HAS_LOCAL: Option<bool> = Some(false);

        type Executor = FromSchedule;

        fn start() -> Self {
            let (sender, receiver) = mpsc::channel::<Runnable>();
            let receiver = Arc::new(Mutex::new(receiver));
            for _ in 0..2 {
                let receiver = Arc::clone(&receiver);
                thread::spawn(move || {
                    loop {
                        let next = receiver.lock().unwrap().recv();
                        match next {
                            Ok(runnable) => runnable.run(),
                            Err(mpsc::RecvError) => return,
                        }
                    }
                });
            }
            let wrapper = ContextAwareExecutor::from_schedule(move |runnable| {
                // Fails only when the process ends.
                let _ = sender.send(runnable);
            });
            Closure(wrapper.into_inner())
        }

        fn executor(&self) -> FromSchedule {
            self.0.clone()
        }

        block_on_the_wrapper!(block_on);
    }
}

pub(crate) mod thread_pool {
    use super::*;
    use aiocontextvars::shim::{Executor, Job};
    use threadpool::ThreadPool;

    pub(crate) type Harness = Anywhere<Pool>;

    /// The crate `threadpool`, which knows closures only. Another pool of it has the blocking jobs.
    #[derive(Clone)]
    pub(crate) struct Pool {
        workers: ThreadPool,
        blocking: ThreadPool,
    }

    impl Executor for Pool {
        fn schedule(&self, task: Runnable) {
            self.workers.execute(|| task.run());
        }

        fn spawn_blocking(&self, job: Job) {
            self.blocking.execute(|| job.run());
        }
    }

    impl Driven for Pool {
        const NESTED_BLOCK_ON: Nested = Nested::Refused;

        const HAS_LOCAL: Option<bool> = Some(false);

        type Executor = Pool;

        fn start() -> Self {
            Pool {
                workers: ThreadPool::new(2),
                blocking: ThreadPool::new(8),
            }
        }

        fn executor(&self) -> Pool {
            self.clone()
        }

        block_on_the_wrapper!(block_on);
    }
}

pub(crate) mod gui_main_loop {
    use super::*;
    use crate::main_loop::{MainLoop, Proxy};

    pub(crate) type Harness = Anywhere<OwnThread>;

    /// A main loop on a thread of its own.
    pub(crate) struct OwnThread(Proxy);

    impl Driven for OwnThread {
        const NESTED_BLOCK_ON: Nested = Nested::Refused;

        const HAS_LOCAL: Option<bool> = Some(false);

        type Executor = Proxy;

        fn start() -> Self {
            let (main_loop, proxy) = MainLoop::new();
            thread::spawn(|| main_loop.run());
            OwnThread(proxy)
        }

        fn executor(&self) -> Proxy {
            self.0.clone()
        }

        block_on_the_wrapper!(block_on);
    }
}
