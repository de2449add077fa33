//! The hops that are given a context.

use std::time::{Duration, Instant};

use aiocontextvars::shim::thread::Builder;
use aiocontextvars::shim::{self, ContextAwareExecutor, FromSchedule, JoinSet, Runner, TaskGroup};
use aiocontextvars::{Context, ContextExt};
use futures::task::SpawnExt;

use crate::{
    Answer, Seen, at_once, awaited, called, executed, joined, on_a_local_pool, on_a_loop, pool,
    see, sees,
};

/// Called in a task of an event loop.
pub(crate) type Hop = (&'static str, fn(Context) -> Answer);

/// Called where nothing runs.
type Run = (&'static str, fn(Context) -> Seen);

const NOW: Duration = Duration::ZERO;

pub(crate) fn hops() -> Vec<Hop> {
    #[rustfmt::skip]
    let mut hops: Vec<Hop> = vec![
        ("run", |mut context| at_once(context.run(see))),
        ("SharedContext::run", |context| at_once(context.share().run(see).unwrap())),
        ("in_context", |context| Box::pin(sees().in_context(context))),
        ("in_context of a shared one", |context| Box::pin(sees().in_context(context.share()))),
        ("bind", |context| at_once(context.bind(see)())),
        ("bind_mut", |context| at_once(context.bind_mut(|()| see())(()))),
        ("bind_fn", |context| at_once(context.bind_fn(|()| see())(()))),
        ("spawn_in", |context| awaited(shim::spawn_in(context, sees()))),
        ("spawn_in a shared one", |context| awaited(shim::spawn_in(context.share(), sees()))),
        ("spawn_blocking_in", |context| awaited(shim::spawn_blocking_in(context, see))),
        ("call_soon_in", |context| called(|f| drop(shim::call_soon_in(context, f)))),
        ("call_later_in", |context| called(|f| drop(shim::call_later_in(context, NOW, f)))),
        ("call_at_in", |context| called(|f| drop(shim::call_at_in(context, Instant::now(), f)))),
        ("add_done_callback_in", |context| {
            called(|f| {
                shim::spawn(async {}).add_done_callback_in(context, f);
            })
        }),
        ("JoinSet::spawn_in", |context| {
            let mut tasks = JoinSet::new();
            tasks.spawn_in(context, sees());
            Box::pin(async move { tasks.join_next().await.unwrap().unwrap() })
        }),
        ("TaskGroup::spawn_in", |context| {
            let group = TaskGroup::<()>::new();
            let task = group.spawn_in(context, async { Ok(see()) });
            Box::pin(async move { (task.await.unwrap().unwrap(), group.join().await.unwrap()).0 })
        }),
        ("thread::spawn_in", |context| joined(shim::thread::spawn_in(context, see))),
        ("thread::Builder::spawn_in", |context| {
            joined(Builder::new().spawn_in(context, see).unwrap())
        }),
        ("thread::Scope::spawn_in", |context| {
            at_once(shim::thread::scope(|scope| scope.spawn_in(context, see).join().unwrap()))
        }),
        ("thread::Builder::spawn_scoped_in", |context| {
            at_once(shim::thread::scope(|scope| {
                let thread = Builder::new().spawn_scoped_in(scope, context, see);
                thread.unwrap().join().unwrap()
            }))
        }),
        ("an executor's spawn_in", |context| awaited(pool().spawn_in(context, sees()))),
        ("an executor's spawn_blocking_in", |context| {
            awaited(pool().spawn_blocking_in(context, see))
        }),
        ("an executor's call_soon_in", |context| {
            called(|f| drop(pool().call_soon_in(context, f)))
        }),
        ("an executor's call_later_in", |context| {
            called(|f| drop(pool().call_later_in(context, NOW, f)))
        }),
        ("an executor's call_at_in", |context| {
            called(|f| drop(pool().call_at_in(context, Instant::now(), f)))
        }),
        // Where another one is fixed.
        ("a fixed executor's spawn_in", |context| {
            awaited(fixed(crate::context(6, 7)).spawn_in(context, sees()))
        }),
    ];
    #[cfg(feature = "tower")]
    hops.push(("ContextLayer::with", |context| {
        let layer = shim::tower::ContextLayer::with(move |(): &()| context.clone());
        let mut service = tower_layer::Layer::layer(&layer, crate::Service);
        crate::served(tower_service::Service::call(&mut service, ()))
    }));
    hops.extend(crate::messages::given());
    #[cfg(feature = "rayon")]
    hops.extend(crate::jobs::given());
    hops
}

fn fixed(context: Context) -> ContextAwareExecutor<FromSchedule> {
    ContextAwareExecutor::fixed(pool().into_inner(), context)
}

/// On an executor that has the context.
#[allow(unused_mut, reason = "without features nothing is added")]
pub(crate) fn fixed_hops() -> Vec<Hop> {
    #[rustfmt::skip]
    let mut hops: Vec<Hop> = vec![
        ("fixed: spawn", |context| awaited(fixed(context).spawn(sees()))),
        ("fixed: spawn_blocking", |context| awaited(fixed(context).spawn_blocking(see))),
        ("fixed: call_soon", |context| called(|f| drop(fixed(context).call_soon(f)))),
        ("fixed: call_later", |context| called(|f| drop(fixed(context).call_later(NOW, f)))),
        ("fixed: call_at", |context| called(|f| drop(fixed(context).call_at(Instant::now(), f)))),
        ("fixed: Spawn::spawn_obj", |context| {
            executed(|future| SpawnExt::spawn(&fixed(context), future).unwrap())
        }),
        ("fixed: JoinSet::spawn_on", |context| {
            let mut tasks = JoinSet::new();
            tasks.spawn_on(&fixed(context), sees());
            Box::pin(async move { tasks.join_next().await.unwrap().unwrap() })
        }),
        ("fixed: entered", |context| {
            let executor = fixed(context);
            let _entered = executor.enter();
            awaited(shim::spawn(sees()))
        }),
        // Whoever submits, also one of its own tasks, and whatever that has in its context.
        ("fixed: spawn in its tasks", |context| {
            let task = fixed(context).spawn(async {
                crate::ID.set(20);
                crate::CONNECTION.set(30);
                shim::spawn(sees()).await.unwrap()
            });
            awaited(task)
        }),
        ("fixed: call_soon in its callbacks", |context| {
            called(|f| drop(fixed(context).call_soon(|| {
                crate::ID.set(20);
                shim::call_soon(f);
            })))
        }),
    ];
    #[cfg(feature = "hyper")]
    hops.push(("fixed: hyper::rt::Executor", |context| {
        executed(|future| hyper::rt::Executor::execute(&fixed(context), future))
    }));
    hops
}

#[rustfmt::skip]
pub(crate) fn runs() -> Vec<Run> {
    vec![
        ("Runner::run_in", |context| Runner::new().run_in(context, sees())),
        ("fixed: block_on", |context| fixed(context).block_on(sees())),
        ("EventLoop::spawn_in", |context| {
            on_a_loop(|event_loop| awaited(event_loop.spawn_in(context, sees())))
        }),
        ("EventLoop::call_soon_in", |context| {
            on_a_loop(|event_loop| called(|f| drop(event_loop.call_soon_in(context, f))))
        }),
        ("EventLoop::call_later_in", |context| {
            on_a_loop(|event_loop| called(|f| drop(event_loop.call_later_in(context, NOW, f))))
        }),
        ("EventLoop::call_at_in", |context| {
            on_a_loop(|event_loop| called(|f| drop(event_loop.call_at_in(context, Instant::now(), f))))
        }),
        ("LoopHandle::spawn_in", |context| {
            on_a_loop(|event_loop| awaited(event_loop.handle().spawn_in(context, sees())))
        }),
        ("LoopHandle::call_soon_threadsafe_in", |context| {
            on_a_loop(|event_loop| {
                called(|f| drop(event_loop.handle().call_soon_threadsafe_in(context, f)))
            })
        }),
        ("an executor's spawn_local_in", |context| {
            on_a_local_pool(None, |executor| awaited(executor.spawn_local_in(context, sees())))
        }),
        ("an executor's call_soon_local_in", |context| {
            on_a_local_pool(None, |executor| {
                called(|f| drop(executor.call_soon_local_in(context, f)))
            })
        }),
        ("an executor's call_later_local_in", |context| {
            on_a_local_pool(None, |executor| {
                called(|f| drop(executor.call_later_local_in(context, NOW, f)))
            })
        }),
        ("an executor's call_at_local_in", |context| {
            on_a_local_pool(None, |executor| {
                called(|f| drop(executor.call_at_local_in(context, Instant::now(), f)))
            })
        }),
        ("fixed: spawn_local", |context| {
            on_a_local_pool(Some(context), |executor| awaited(executor.spawn_local(sees())))
        }),
        ("fixed: call_soon_local", |context| {
            on_a_local_pool(Some(context), |executor| {
                called(|f| drop(executor.call_soon_local(f)))
            })
        }),
        ("fixed: call_later_local", |context| {
            on_a_local_pool(Some(context), |executor| {
                called(|f| drop(executor.call_later_local(NOW, f)))
            })
        }),
    ]
}
