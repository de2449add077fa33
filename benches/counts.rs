//! One operation, a given number of times, for `ci/counts.sh` to count the instructions of.
//!
//! `counts --names` prints the names of the operations, and `counts NAME TIMES` does one of them.
//! Set-up and clean-up are the same for any number, so the difference of two runs is the operation
//! alone, and two or three instructions of the loop.

#[path = "counts/heap.rs"]
mod heap;

use std::env;
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::mem;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::task::{self, Poll, Waker};
use std::time::Duration;

use aiocontextvars::event_loop::{EventLoop, LoopHandle};
use aiocontextvars::propagation::Propagator;
#[cfg(feature = "rayon")]
use rayon::prelude::*;

use aiocontextvars::{
    Context, ContextExt, ContextVar, DefaultKind, Token, context_var, copy_context, shim,
    task_local,
};

context_var! {
    static ID: u64;
    static NAME: String;
    static UNSET: u64;
    static LOCALE: u64 = 1;
}

task_local! { static NUMBER: u64; }

const USAGE: u8 = 2;

/// How many variables a task inherits.
const INHERITED: usize = 10;

type Operation = fn(u64);

/// Spawns a task, whose work this is, and waits for it, one after another.
macro_rules! spawns {
    ($times:expr, $spawn:expr) => {{
        let times = $times;
        async move {
            for _ in 0..times {
                black_box($spawn(Turn::default()).await.unwrap());
            }
        }
    }};
}

const OPERATIONS: &[(&str, Operation)] = &[
    ("get_u64_1", |times| get(&ID, with_id(1), times)),
    ("get_u64_100000", |times| get(&ID, with_id(100_000), times)),
    ("get_string_1", |times| get(&NAME, with_name(), times)),
    ("get_default", |times| get(&LOCALE, with_id(1), times)),
    ("get_unset", |times| get(&UNSET, with_id(1), times)),
    // Where each read asks which task runs.
    ("get_root", |times| {
        ID.set(1);
        reads(times);
    }),
    #[cfg(feature = "tokio")]
    ("get_bare_task", |times| {
        on_tokio(async move {
            tokio::spawn(async move { reads(times) }).await.unwrap();
        });
    }),
    #[cfg(feature = "tokio")]
    // Ten each time: the runtime's own threads add a little to the count.
    ("get_block_on_10", |times| {
        shim::block_on(async move {
            ID.set(1);
            reads(10 * times);
        });
    }),
    ("with_string_1", |times| {
        each(with_name(), times, || {
            NAME.with(|name| name.map(String::len))
        })
    }),
    ("set_1", |times| each(with_id(1), times, set)),
    ("set_100", |times| each(with_id(100), times, set)),
    ("set_after_snapshot_1", |times| {
        each(with_id(1), times, set_after_snapshot)
    }),
    ("set_after_snapshot_100", |times| {
        each(with_id(100), times, set_after_snapshot)
    }),
    ("set_reset_1", |times| {
        each(with_id(1), times, || ID.reset(set()).is_ok())
    }),
    ("scoped_1", |times| {
        each(with_id(1), times, || ID.scoped(black_box(2)))
    }),
    ("update_1", |times| {
        each(with_id(1), times, || {
            ID.update(|id| black_box(*id.unwrap()))
        })
    }),
    // Ten guards each time. Two rows of a kind differ if a guard costs more where there are more of
    // them.
    ("guards_last_first_1000", |times| {
        guards(1_000, Order::LastFirst, times)
    }),
    ("guards_last_first_10000", |times| {
        guards(10_000, Order::LastFirst, times)
    }),
    ("guards_first_first_1000", |times| {
        guards(1_000, Order::FirstFirst, times)
    }),
    ("guards_first_first_10000", |times| {
        guards(10_000, Order::FirstFirst, times)
    }),
    ("guards_any_order_1000", |times| {
        guards(1_000, Order::Any, times)
    }),
    ("guards_any_order_10000", |times| {
        guards(10_000, Order::Any, times)
    }),
    ("snapshot_1", |times| each(with_id(1), times, copy_context)),
    ("snapshot_100000", |times| {
        each(with_id(100_000), times, copy_context)
    }),
    ("run_1", run),
    ("poll_1", |times| poll(with_id(1), times)),
    ("poll_100", |times| poll(with_id(100), times)),
    // As what they are made with is, at the same price.
    ("poll_scope_1", |times| {
        poll_all(ID.scope(1, pending()), times)
    }),
    ("poll_task_local_1", |times| {
        poll_all(NUMBER.scope(1, pending()), times)
    }),
    ("task_local_get_1", |times| {
        NUMBER.sync_scope(1, || {
            (0..times).for_each(|_| _ = black_box(black_box(&NUMBER).get()))
        })
    }),
    ("spawn_event_loop", spawn_event_loop),
    ("spawn_event_loop_native", spawn_event_loop_native),
    ("spawn_smol_local_bare", spawn_smol_local_bare),
    #[cfg(feature = "tokio")]
    ("spawn_tokio_bare", |times| {
        on_tokio(spawns!(times, tokio::spawn))
    }),
    #[cfg(feature = "tokio")]
    ("spawn_tokio_native", |times| {
        on_tokio(spawns!(times, shim::tokio::spawn).in_context(with_id(INHERITED)))
    }),
    #[cfg(feature = "tokio")]
    ("spawn_tokio_current", |times| {
        on_tokio(spawns!(times, shim::spawn).in_context(with_id(INHERITED)))
    }),
    #[cfg(feature = "smol")]
    ("spawn_smol_bare", spawn_smol_bare),
    #[cfg(feature = "smol")]
    ("spawn_smol_native", |times| {
        on_smol(spawns!(times, shim::smol::spawn))
    }),
    #[cfg(feature = "smol")]
    ("spawn_smol_current", |times| {
        on_smol(spawns!(times, shim::spawn))
    }),
    #[cfg(feature = "rayon")]
    ("rayon_join_bare", |times| {
        on_rayon(|| (0..times).for_each(|_| _ = black_box(rayon::join(job, job))))
    }),
    #[cfg(feature = "rayon")]
    ("rayon_join", |times| {
        on_rayon(|| (0..times).for_each(|_| _ = black_box(shim::rayon::join(job, job))))
    }),
    #[cfg(feature = "rayon")]
    ("rayon_iterator_bare", |times| {
        on_rayon(|| items(times).for_each(consume))
    }),
    #[cfg(feature = "rayon")]
    ("rayon_iterator", |times| {
        on_rayon(|| items(times).in_current_context().for_each(consume))
    }),
    ("call_soon_event_loop", call_soon),
    ("timer_cancel_event_loop", timer_cancel),
    ("inject_2", inject),
    ("extract_2", extract),
];

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        // As `cargo test` runs benches.
        (None | Some("--test"), _) => OPERATIONS.iter().for_each(|(_, operation)| operation(1)),
        // What `cargo bench` passes.
        (Some("--bench"), _) => println!("instructions are counted by ci/counts.sh"),
        (Some("--names"), _) => OPERATIONS.iter().for_each(|(name, _)| println!("{name}")),
        (Some(wanted), times) => {
            let found = OPERATIONS.iter().find(|(name, _)| *name == wanted);
            let times = times.and_then(|times| times.parse().ok());
            let (Some((_, operation)), Some(times)) = (found, times) else {
                eprintln!("counts: `{wanted}` and a number of times is not what it can do");
                return ExitCode::from(USAGE);
            };
            operation(times);
        }
    }
    ExitCode::SUCCESS
}

/// A context with so many variables, `ID` among them.
fn with_id(size: usize) -> Context {
    let mut context = Context::new().with_value(&ID, 1);
    context.run(|| {
        for n in 1..size {
            ContextVar::named("").set(n);
        }
    });
    context
}

fn with_name() -> Context {
    Context::new().with_value(&NAME, "a".to_owned())
}

/// Does `operation` so many times inside of `context`.
fn each<R>(mut context: Context, times: u64, operation: impl Fn() -> R) {
    context.run(|| (0..times).for_each(|_| drop(black_box(operation()))));
}

fn get<T, D>(var: &ContextVar<T, D>, context: Context, times: u64)
where
    T: Clone + Send + Sync,
    D: DefaultKind,
{
    each(context, times, || black_box(var).get());
}

/// Reads in what is current.
fn reads(times: u64) {
    (0..times).for_each(|_| _ = black_box(black_box(&ID).get()));
}

fn set() -> Token<u64> {
    ID.set(black_box(2))
}

fn set_after_snapshot() {
    let _snapshot = black_box(copy_context());
    set();
}

enum Order {
    LastFirst,
    FirstFirst,
    Any,
}

/// Makes and drops ten times as many guards, in batches of as many that are live at once, with a
/// read and a write in between and a copy of the context that stays.
fn guards(live: usize, order: Order, times: u64) {
    let mut guards = Vec::with_capacity(live);
    let mut indexes: Vec<usize> = (0..live).collect();
    match order {
        Order::LastFirst => indexes.reverse(),
        Order::FirstFirst => {}
        Order::Any => fastrand::Rng::with_seed(7).shuffle(&mut indexes),
    }
    with_id(1).run(|| {
        for _ in 0..times * 10 / live as u64 {
            guards.extend((0..live).map(|_| Some(ID.scoped(black_box(2)))));
            let _copy = black_box(copy_context());
            for &index in &indexes {
                drop(guards[index].take());
                black_box(ID.get());
                set();
            }
            guards.clear();
        }
    });
}

fn run(times: u64) {
    let mut context = with_id(1);
    (0..times).for_each(|_| black_box(&mut context).run(|| black_box(())));
}

fn pending() -> impl Future<Output = ()> {
    poll_fn(|_| black_box(Poll::Pending))
}

fn poll(context: Context, times: u64) {
    poll_all(pending().in_context(context), times);
}

fn poll_all(future: impl Future<Output = ()>, times: u64) {
    let mut future = pin!(future);
    let mut cx = task::Context::from_waker(Waker::noop());
    (0..times).for_each(|_| assert!(future.as_mut().poll(&mut cx).is_pending()));
}

fn spawn_event_loop(times: u64) {
    with_id(INHERITED).run(|| EventLoop::new().run_until_complete(spawns!(times, shim::spawn)));
}

/// By the loop's own method, as the row of smol's does it.
fn spawn_event_loop_native(times: u64) {
    with_id(INHERITED).run(|| {
        let event_loop = EventLoop::new();
        let spawn = |turn| event_loop.spawn(turn);
        event_loop.run_until_complete(spawns!(times, spawn));
    });
}

fn spawn_smol_local_bare(times: u64) {
    let executor = smol::LocalExecutor::new();
    smol::future::block_on(executor.run(async {
        for _ in 0..times {
            executor.spawn(Turn::default()).await;
        }
    }));
}

/// What a task of the spawning rows does: it yields once.
#[derive(Default)]
struct Turn {
    is_taken: bool,
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        if mem::replace(&mut self.is_taken, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(feature = "tokio")]
fn on_tokio(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(future);
}

#[cfg(feature = "smol")]
fn spawn_smol_bare(times: u64) {
    smol::block_on(smol::spawn(async move {
        for _ in 0..times {
            smol::spawn(Turn::default()).await;
        }
    }));
}

/// As a task, so that all happens on the executor's thread.
#[cfg(feature = "smol")]
fn on_smol(future: impl Future<Output = ()> + Send + 'static) {
    let task = with_id(INHERITED).run(|| shim::smol::spawn(future));
    smol::block_on(task).expect("it does not panic");
}

/// Inside of a pool of one thread, in a context.
#[cfg(feature = "rayon")]
fn on_rayon(f: impl FnOnce() + Send) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    with_id(INHERITED).run(|| {
        shim::rayon::on(&pool.unwrap()).install(|context: &Context| context.call(f));
    });
}

/// Items, each of which is a job.
#[cfg(feature = "rayon")]
fn items(times: u64) -> rayon::iter::MaxLen<rayon::range::Iter<usize>> {
    let times = usize::try_from(times).expect("a number of times fits");
    (0..times).into_par_iter().with_max_len(1)
}

#[cfg(feature = "rayon")]
fn job() -> u64 {
    black_box(1)
}

#[cfg(feature = "rayon")]
fn consume(item: usize) {
    black_box(item);
}

/// Each callback schedules the next.
fn call_soon(times: u64) {
    fn call(left: u64, event_loop: LoopHandle) {
        match left {
            0 => event_loop.stop(),
            left => drop(shim::call_soon(move || call(left - 1, event_loop))),
        }
    }
    let event_loop = EventLoop::new();
    let handle = event_loop.handle();
    with_id(1).run(|| event_loop.call_soon(move || call(times, handle)));
    event_loop.run_forever();
}

fn timer_cancel(times: u64) {
    // On this clock, none of the work is the system's.
    let event_loop = EventLoop::with_virtual_clock();
    each(with_id(1), times, || {
        event_loop
            .call_later(Duration::from_secs(60), || ())
            .cancel()
    });
}

fn propagator() -> Propagator {
    Propagator::new()
        .both("tenant", &NAME)
        .both("request-id", &ID)
}

fn inject(times: u64) {
    let propagator = propagator();
    let context = with_name().with_value(&ID, 1_234_567);
    let mut headers = vec![(String::new(), String::new())];
    for _ in 0..times {
        headers.clear();
        let problems = black_box(&propagator).inject(black_box(&context), &mut headers);
        assert!(problems.is_empty() && headers.len() == 1);
    }
}

fn extract(times: u64) {
    let propagator = propagator();
    let header = "tenant=a,request-id=1234567".to_owned();
    let headers = vec![("baggage".to_owned(), header)];
    for _ in 0..times {
        let received = black_box(&propagator).extract(Context::new(), black_box(&headers));
        assert!(received.problems.is_empty() && received.context.len() == 2);
    }
}
