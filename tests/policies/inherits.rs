//! The hops that take a copy of the caller's context.

use std::time::{Duration, Instant};

use aiocontextvars::ContextExt;
use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::thread::Builder;
use aiocontextvars::shim::{self, JoinSet, Runner, TaskGroup};
use futures::stream::{self, StreamExt};
use futures::task::{LocalSpawnExt, SpawnExt};

use crate::{
    Answer, Seen, at_once, awaited, called, executed, joined, on_a_local_pool, on_a_loop, pool,
    see, sees,
};

/// Called in a task of an event loop.
pub(crate) type Hop = (&'static str, fn() -> Answer);

/// Called where nothing runs.
type Run = (&'static str, fn() -> Seen);

const NOW: Duration = Duration::ZERO;

async fn only<T>(mut tasks: JoinSet<T>) -> T {
    tasks.join_next().await.unwrap().unwrap()
}

pub(crate) fn hops() -> Vec<Hop> {
    #[rustfmt::skip]
    let mut hops: Vec<Hop> = vec![
        ("spawn", || awaited(shim::spawn(sees()))),
        ("try_spawn", || awaited(shim::try_spawn(sees()).unwrap())),
        ("spawn_local", || awaited(shim::spawn_local(sees()))),
        ("spawn_blocking", || awaited(shim::spawn_blocking(see))),
        ("call_soon", || called(|f| drop(shim::call_soon(f)))),
        ("call_soon_local", || called(|f| drop(shim::call_soon_local(f)))),
        ("call_later", || called(|f| drop(shim::call_later(NOW, f)))),
        ("call_at", || called(|f| drop(shim::call_at(Instant::now(), f)))),
        ("add_done_callback", || {
            called(|f| {
                shim::spawn(async {}).add_done_callback(f);
            })
        }),
        ("JoinSet::spawn", || {
            let mut tasks = JoinSet::new();
            tasks.spawn(sees());
            Box::pin(only(tasks))
        }),
        ("JoinSet::spawn_on", || {
            let mut tasks = JoinSet::new();
            tasks.spawn_on(&pool(), sees());
            Box::pin(only(tasks))
        }),
        ("JoinSet::spawn_local", || {
            let mut tasks = JoinSet::new();
            tasks.spawn_local(sees());
            Box::pin(only(tasks))
        }),
        ("JoinSet::spawn_blocking", || {
            let mut tasks = JoinSet::new();
            tasks.spawn_blocking(see);
            Box::pin(only(tasks))
        }),
        ("TaskGroup::spawn", || {
            let group = TaskGroup::<()>::new();
            let task = group.spawn(async { Ok(see()) });
            Box::pin(async move { (task.await.unwrap().unwrap(), group.join().await.unwrap()).0 })
        }),
        ("TaskGroup::spawn_local", || {
            let group = TaskGroup::<()>::new();
            let task = group.spawn_local(async { Ok(see()) });
            Box::pin(async move { (task.await.unwrap().unwrap(), group.join().await.unwrap()).0 })
        }),
        ("thread::spawn", || joined(shim::thread::spawn(see))),
        ("thread::Builder::spawn", || joined(Builder::new().spawn(see).unwrap())),
        ("thread::Scope::spawn", || {
            at_once(shim::thread::scope(|scope| scope.spawn(see).join().unwrap()))
        }),
        ("thread::Builder::spawn_scoped", || {
            at_once(shim::thread::scope(|scope| {
                Builder::new().spawn_scoped(scope, see).unwrap().join().unwrap()
            }))
        }),
        ("in_current_context", || Box::pin(sees().in_current_context())),
        ("a stream in_current_context", || {
            let stream = stream::repeat_with(see).in_current_context();
            Box::pin(async move { Box::pin(stream).next().await.unwrap() })
        }),
        ("bind", || {
            let bound = shim::bind(see);
            Box::pin(async { bound() })
        }),
        ("bind_mut", || {
            let mut bound = shim::bind_mut(|()| see());
            Box::pin(async move { bound(()) })
        }),
        ("bind_fn", || {
            let bound = shim::bind_fn(|()| see());
            Box::pin(async move { bound(()) })
        }),
        ("an executor's spawn", || awaited(pool().spawn(sees()))),
        ("an executor's spawn_blocking", || awaited(pool().spawn_blocking(see))),
        ("an executor's call_soon", || called(|f| drop(pool().call_soon(f)))),
        ("an executor's call_later", || called(|f| drop(pool().call_later(NOW, f)))),
        ("an executor's call_at", || called(|f| drop(pool().call_at(Instant::now(), f)))),
        ("Spawn::spawn_obj", || executed(|future| SpawnExt::spawn(&pool(), future).unwrap())),
    ];
    #[cfg(feature = "hyper")]
    hops.push(("hyper::rt::Executor", || {
        executed(|future| hyper::rt::Executor::execute(&pool(), future))
    }));
    #[cfg(feature = "tower")]
    hops.push(("ContextLayer", || {
        let layer = shim::tower::ContextLayer::new();
        let mut service = tower_layer::Layer::layer(&layer, crate::Service);
        crate::served(tower_service::Service::call(&mut service, ()))
    }));
    #[cfg(feature = "async-std")]
    hops.extend::<[Hop; 2]>([
        ("async_std::spawn", || {
            awaited(shim::async_std::spawn(sees()))
        }),
        ("async_std::spawn_blocking", || {
            awaited(shim::async_std::spawn_blocking(see))
        }),
    ]);
    #[cfg(feature = "smol")]
    hops.extend::<[Hop; 2]>([
        ("smol::spawn", || awaited(shim::smol::spawn(sees()))),
        ("smol::spawn_blocking", || {
            awaited(shim::smol::spawn_blocking(see))
        }),
    ]);
    hops.extend(crate::messages::inheriting());
    #[cfg(feature = "rayon")]
    hops.extend(crate::jobs::inheriting());
    hops
}

#[allow(unused_mut, reason = "without features nothing is added")]
pub(crate) fn runs() -> Vec<Run> {
    #[rustfmt::skip]
    let mut runs: Vec<Run> = vec![
        ("block_on", || shim::block_on(sees())),
        ("try_block_on", || shim::try_block_on(sees()).unwrap()),
        ("an executor's block_on", || pool().block_on(sees())),
        ("run_until_complete", || EventLoop::new().run_until_complete(sees())),
        ("Runner::run", || Runner::new().run(sees())),
        ("a Runner on an executor", || Runner::on(pool()).run(sees())),
        ("a Runner of a block_on", || {
            Runner::from_block_on(|future| futures::executor::block_on(future)).run(sees())
        }),
        ("EventLoop::spawn", || on_a_loop(|event_loop| awaited(event_loop.spawn(sees())))),
        ("EventLoop::call_soon", || {
            on_a_loop(|event_loop| called(|f| drop(event_loop.call_soon(f))))
        }),
        ("EventLoop::call_later", || {
            on_a_loop(|event_loop| called(|f| drop(event_loop.call_later(NOW, f))))
        }),
        ("EventLoop::call_at", || {
            on_a_loop(|event_loop| called(|f| drop(event_loop.call_at(Instant::now(), f))))
        }),
        ("LoopHandle::spawn", || {
            on_a_loop(|event_loop| awaited(event_loop.handle().spawn(sees())))
        }),
        ("LoopHandle::call_soon_threadsafe", || {
            on_a_loop(|event_loop| called(|f| drop(event_loop.handle().call_soon_threadsafe(f))))
        }),
        ("an executor's spawn_local", || {
            on_a_local_pool(None, |executor| awaited(executor.spawn_local(sees())))
        }),
        ("an executor's call_soon_local", || {
            on_a_local_pool(None, |executor| called(|f| drop(executor.call_soon_local(f))))
        }),
        ("an executor's call_later_local", || {
            on_a_local_pool(None, |executor| called(|f| drop(executor.call_later_local(NOW, f))))
        }),
        ("an executor's call_at_local", || {
            on_a_local_pool(None, |executor| called(|f| drop(executor.call_at_local(Instant::now(), f))))
        }),
        ("LocalSpawn::spawn_local_obj", || {
            on_a_local_pool(None, |executor| {
                executed(|future| LocalSpawnExt::spawn_local(executor, future).unwrap())
            })
        }),
    ];
    #[cfg(feature = "async-std")]
    runs.extend::<[Run; 2]>([
        ("async_std::block_on", || shim::async_std::block_on(sees())),
        ("async_std::spawn_local", || {
            shim::async_std::block_on(sees_in(|| shim::async_std::spawn_local(sees())))
        }),
    ]);
    #[cfg(feature = "smol")]
    runs.push(("smol::block_on", || shim::smol::block_on(sees())));
    #[cfg(feature = "tokio")]
    runs.extend::<[Run; 4]>([
        ("tokio::block_on", || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let _entered = runtime.enter();
            shim::tokio::block_on(sees())
        }),
        ("tokio::spawn", || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let _entered = runtime.enter();
            runtime.block_on(shim::tokio::spawn(sees())).unwrap()
        }),
        ("tokio::spawn_blocking", || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let _entered = runtime.enter();
            runtime.block_on(shim::tokio::spawn_blocking(see)).unwrap()
        }),
        ("tokio::spawn_local", || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.build().unwrap();
            let set = std::rc::Rc::new(tokio::task::LocalSet::new());
            let executor = shim::ContextAwareExecutor::new(std::rc::Rc::clone(&set));
            let _entered = executor.enter_local();
            let task = shim::tokio::spawn_local(sees());
            set.block_on(&runtime, task).unwrap()
        }),
    ]);
    runs
}

/// Spawns within a run, whose own copy has no local variable left: set anew.
#[cfg(feature = "async-std")]
async fn sees_in(spawn: impl FnOnce() -> shim::JoinHandle<Seen>) -> Seen {
    crate::CONNECTION.set(2);
    let task = spawn();
    crate::CONNECTION.set(3);
    task.await.unwrap()
}
