//! Tasks and blocking jobs: one is spawned, yields once and is joined, then the next.
//!
//! The spawner runs where the tasks do, in a context with 10 variables, and everything is the same
//! for every peer but for what carries the variables.

use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::{ContextExt, shim};
use tokio::runtime::{Builder, Runtime};

use crate::carriers::{
    Bare, Carrier, Dcontext, Fastrace, Inherit, Otel, TaskLocal, TenTaskLocals, Tracing, collected,
    context,
};
use crate::sampling::{Contest, Row, nanoseconds};

/// What it takes to do something `n` times, which may wait.
macro_rules! repeat {
    ($n:expr, $operation:expr) => {{
        let start = Instant::now();
        for _ in 0..$n {
            $operation;
        }
        nanoseconds(start)
    }};
}
pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "spawn_tokio_current",
        "spawn + yield + join, 10 variables; self_native is shim::tokio::spawn, tokio_task_local_1 a single scope",
        || tokio_spawns(current_thread()),
    )
    .long(),
    Row::new("spawn_tokio_multi", "the same with two workers", || {
        tokio_spawns(two_workers())
    })
    .long(),
    Row::new("spawn_smol", "the same on smol", || {
        Contest::new(|n| smol_runs(ours(n, Spawn::Free)))
            .peer("bare", |n| smol::block_on(smol::spawn(smol_bare(n))))
            .peer("self_native", |n| smol_runs(ours(n, Spawn::Smol)))
    })
    .long(),
    Row::new("spawn_async_std", "the same on async-std", || {
        Contest::new(|n| async_std_runs(ours(n, Spawn::Free)))
            .peer("bare", |n| {
                async_std::task::block_on(async_std::task::spawn(async_std_bare(n)))
            })
            .peer("self_native", |n| async_std_runs(ours(n, Spawn::AsyncStd)))
    })
    .long(),
    Row::new(
        "spawn_event_loop",
        "the same on the event loop; self_native is EventLoop::spawn",
        event_loop,
    )
    .long(),
    Row::new("noise_spawn_tokio_current", "bare against bare", || {
        let runtime = current_thread();
        Contest::new(tokio_carried(&runtime, Bare {}))
            .peer("self", tokio_carried(&runtime, Bare {}))
    })
    .long(),
    Row::new("noise_spawn_tokio_multi", "bare against bare", || {
        let runtime = two_workers();
        Contest::new(tokio_carried(&runtime, Bare {}))
            .peer("self", tokio_carried(&runtime, Bare {}))
    })
    .long(),
    Row::new("noise_spawn_smol", "bare against bare", || {
        let bare = |n| smol::block_on(smol::spawn(smol_bare(n)));
        Contest::new(bare).peer("self", bare)
    })
    .long(),
    Row::new(
        "spawn_blocking_tokio",
        "a blocking job and its join, 10 variables",
        blocking_tokio,
    )
    .long(),
    Row::new("spawn_blocking_smol", "the same on smol", || {
        Contest::new(|n| {
            smol_runs(
                async move { repeat!(n, shim::spawn_blocking(|| black_box(())).await.unwrap()) },
            )
        })
        .peer("bare", |n| {
            smol::block_on(smol::spawn(async move {
                repeat!(n, smol::unblock(|| black_box(())).await)
            }))
        })
    })
    .long(),
    Row::new(
        "spawn_blocking_event_loop",
        "the same on the event loop",
        || {
            let event_loop = EventLoop::new();
            Contest::new(move |n| {
                let jobs = async move {
                    repeat!(n, shim::spawn_blocking(|| black_box(())).await.unwrap())
                };
                context(10).run(|| event_loop.run_until_complete(jobs))
            })
            .event_loops("to_thread", 10)
        },
    )
    .long(),
];

/// Yields once.
#[derive(Default)]
pub(crate) struct Turn {
    taken: bool,
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.taken {
            return Poll::Ready(());
        }
        self.taken = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

pub(crate) fn current_thread() -> Rc<Runtime> {
    Rc::new(
        Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime starts"),
    )
}

fn two_workers() -> Rc<Runtime> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build();
    Rc::new(runtime.expect("a runtime starts"))
}

/// Which of ours spawns.
#[derive(Clone, Copy)]
pub(crate) enum Spawn {
    /// It finds out which runtime this is.
    Free,
    Tokio,
    Smol,
    AsyncStd,
}

pub(crate) async fn ours(n: u32, spawn: Spawn) -> f64 {
    match spawn {
        Spawn::Free => repeat!(n, shim::spawn(Turn::default()).await.unwrap()),
        Spawn::Tokio => repeat!(n, shim::tokio::spawn(Turn::default()).await.unwrap()),
        Spawn::Smol => repeat!(n, shim::smol::spawn(Turn::default()).await.unwrap()),
        Spawn::AsyncStd => repeat!(n, shim::async_std::spawn(Turn::default()).await.unwrap()),
    }
}

/// Runs `future` on a thread of the runtime: the only one, or a worker.
pub(crate) fn tokio_runs<F>(runtime: &Runtime, future: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    use tokio::runtime::RuntimeFlavor::CurrentThread;
    match runtime.handle().runtime_flavor() {
        CurrentThread => runtime.block_on(future),
        _ => runtime.block_on(async { tokio::spawn(future).await.expect("it does not panic") }),
    }
}

pub(crate) fn tokio_carried<C: Carrier>(
    runtime: &Rc<Runtime>,
    carrier: C,
) -> impl FnMut(u32) -> f64 + use<C> {
    let runtime = Rc::clone(runtime);
    move |n| {
        let tasks = async move {
            repeat!(
                n,
                tokio::spawn(carrier.task(Turn::default())).await.unwrap()
            )
        };
        tokio_runs(&runtime, carrier.around(tasks))
    }
}

fn tokio_ours(runtime: &Rc<Runtime>, spawn: Spawn) -> impl FnMut(u32) -> f64 + use<> {
    let runtime = Rc::clone(runtime);
    move |n| tokio_runs(&runtime, ours(n, spawn).in_context(context(10)))
}

fn tokio_spawns(runtime: Rc<Runtime>) -> Contest {
    Contest::new(tokio_ours(&runtime, Spawn::Free))
        .peer("bare", tokio_carried(&runtime, Bare {}))
        .peer("self_native", tokio_ours(&runtime, Spawn::Tokio))
        .peer(
            "tokio_task_local",
            tokio_carried(&runtime, TenTaskLocals {}),
        )
        .peer("tokio_task_local_1", tokio_carried(&runtime, TaskLocal {}))
        .peer(
            "tokio_inherit",
            tokio_carried(&runtime, Inherit { variables: 10 }),
        )
        .peer(
            "dcontext",
            tokio_carried(&runtime, Dcontext { variables: 10 }),
        )
        .peer(
            "opentelemetry",
            tokio_carried(&runtime, Otel { variables: 10 }),
        )
        .peer("tracing", tokio_carried(&runtime, Tracing {}))
        .peer("fastrace", collected(tokio_carried(&runtime, Fastrace {})))
}

/// Runs `future` on the thread of smol's executor.
fn smol_runs<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let task = context(10).run(|| shim::smol::spawn(future));
    smol::block_on(task).expect("it does not panic")
}

async fn smol_bare(n: u32) -> f64 {
    repeat!(n, smol::spawn(Turn::default()).await)
}

fn async_std_runs<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let task = context(10).run(|| shim::async_std::spawn(future));
    async_std::task::block_on(task).expect("it does not panic")
}

async fn async_std_bare(n: u32) -> f64 {
    repeat!(n, async_std::task::spawn(Turn::default()).await)
}

fn event_loop() -> Contest {
    let event_loop = Rc::new(EventLoop::new());
    let native = Rc::clone(&event_loop);
    let smol_local = smol::LocalExecutor::new();
    Contest::new(move |n| context(10).run(|| event_loop.run_until_complete(ours(n, Spawn::Free))))
        .peer("self_native", move |n| {
            let tasks = async { repeat!(n, native.spawn(Turn::default()).await.unwrap()) };
            context(10).run(|| native.run_until_complete(tasks))
        })
        .peer("smol_local", move |n| {
            let tasks = async { repeat!(n, smol_local.spawn(Turn::default()).await) };
            smol::future::block_on(smol_local.run(tasks))
        })
        .event_loops("spawn", 10)
}

fn blocking_tokio() -> Contest {
    use tokio::task::spawn_blocking;
    let runtime = current_thread();
    let (bare, inherit) = (Rc::clone(&runtime), Rc::clone(&runtime));
    Contest::new(move |n| {
        let jobs = async move { repeat!(n, shim::spawn_blocking(|| black_box(())).await.unwrap()) };
        tokio_runs(&runtime, jobs.in_context(context(10)))
    })
    .peer("bare", move |n| {
        tokio_runs(&bare, async move {
            repeat!(n, spawn_blocking(|| black_box(())).await.unwrap())
        })
    })
    .peer("tokio_inherit", move |n| {
        let jobs = async move {
            repeat!(n, {
                let job = tokio_inherit_task_local::inherit_task_local(|| black_box(()));
                spawn_blocking(job).await.unwrap()
            })
        };
        tokio_runs(&inherit, Inherit { variables: 10 }.around(jobs))
    })
}
