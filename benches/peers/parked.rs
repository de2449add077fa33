//! What a task takes while it waits: bytes, on each runtime.

use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::thread;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, JoinHandle};
use smol::LocalExecutor;
use tokio::runtime::Runtime;

use crate::allocator;
use crate::carriers::context;
use crate::sampling::{Contest, Row, Unit};
use crate::spawning::current_thread;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "task_bytes_tokio",
        "of a task that waits: the mean over futures of 8, 16 ... 256 bytes, 10 variables; theirs is bare",
        || Contest::new(parked(|| Ours(current_thread()))).peer("bare", parked(current_thread)),
    )
    .counts(Unit::Bytes),
    Row::new("task_bytes_smol", "the same on smol", || {
        Contest::new(parked(|| Ours(Smol))).peer("bare", parked(|| Smol))
    })
    .counts(Unit::Bytes),
    Row::new("task_bytes_async_std", "the same on async-std", || {
        Contest::new(parked(|| Ours(AsyncStd))).peer("bare", parked(|| AsyncStd))
    })
    .counts(Unit::Bytes),
    Row::new("task_bytes_event_loop", "the same on the event loop, beside smol's LocalExecutor", || {
        Contest::new(parked(EventLoop::new)).peer("smol_local", parked(LocalExecutor::new))
    })
    .counts(Unit::Bytes),
];

static POLLED: AtomicU32 = AtomicU32::new(0);

/// A future of that many words, which never ends.
struct Parked<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Future for Parked<WORDS> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        black_box(&self.0);
        POLLED.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    }
}

/// The bytes of a task, times `n`, in a new place for each size, so that what grows with the number
/// of tasks counts.
fn parked<P: Place>(place: impl Fn() -> P) -> impl FnMut(u32) -> f64 {
    fn of_size<const WORDS: usize>(place: &impl Place, n: u32) -> f64 {
        // Its `Vec` is the user's.
        let mut tasks = Vec::with_capacity(n as usize);
        POLLED.store(0, Ordering::Relaxed);
        let context = context(10);
        allocator::start();
        tasks.extend((0..n).map(|_| context.clone().run(|| place.spawn(Parked([0; WORDS])))));
        while POLLED.load(Ordering::Relaxed) < n {
            place.turn();
        }
        let bytes = allocator::stop().bytes;
        tasks.into_iter().for_each(|task| place.end(task));
        bytes
    }
    macro_rules! sizes {
        ($place:ident, $n:ident, $($words:literal)*) => { [$(of_size::<$words>(&$place(), $n)),*] };
    }
    move |n| {
        let bytes = sizes!(
            place, n, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
        );
        bytes.iter().sum::<f64>() / bytes.len() as f64
    }
}

/// Where tasks can wait.
trait Place {
    type Task;
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Self::Task;
    /// Lets tasks run.
    fn turn(&self);
    /// Ends a task.
    fn end(&self, task: Self::Task);
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        smol::block_on(future)
    }
}

impl Place for Rc<Runtime> {
    type Task = tokio::task::JoinHandle<()>;

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Self::Task {
        Runtime::spawn(self, future)
    }

    fn turn(&self) {
        Runtime::block_on(self, tokio::task::yield_now());
    }

    fn end(&self, task: Self::Task) {
        task.abort();
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        Runtime::block_on(self, future)
    }
}

/// smol's global executor.
struct Smol;

impl Place for Smol {
    type Task = smol::Task<()>;

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Self::Task {
        smol::spawn(future)
    }

    fn turn(&self) {
        thread::yield_now();
    }

    fn end(&self, task: Self::Task) {
        smol::block_on(task.cancel());
    }
}

struct AsyncStd;

impl Place for AsyncStd {
    type Task = async_std::task::JoinHandle<()>;

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Self::Task {
        async_std::task::spawn(future)
    }

    fn turn(&self) {
        thread::yield_now();
    }

    fn end(&self, task: Self::Task) {
        async_std::task::block_on(task.cancel());
    }
}

impl Place for LocalExecutor<'static> {
    type Task = smol::Task<()>;

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Self::Task {
        LocalExecutor::spawn(self, future)
    }

    fn turn(&self) {
        self.try_tick();
    }

    fn end(&self, task: Self::Task) {
        drop(task);
    }
}

impl Place for EventLoop {
    type Task = JoinHandle<()>;

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Self::Task {
        EventLoop::spawn(self, future)
    }

    fn turn(&self) {
        self.run_until_complete(shim::yield_now());
    }

    fn end(&self, task: Self::Task) {
        task.abort();
    }
}

/// Tasks of this crate on the same runtime.
struct Ours<P>(P);

macro_rules! ours {
    ($place:ty, |$this:ident, $future:ident| $spawn:expr) => {
        impl Place for Ours<$place> {
            type Task = JoinHandle<()>;

            fn spawn(&self, $future: impl Future<Output = ()> + Send + 'static) -> Self::Task {
                let $this = &self.0;
                $spawn
            }

            fn turn(&self) {
                self.0.turn();
            }

            fn end(&self, task: Self::Task) {
                task.abort();
                // Done when it is dropped.
                let _ = self.0.block_on(task);
            }
        }
    };
}

ours!(Rc<Runtime>, |runtime, future| {
    let _entered = runtime.enter();
    shim::tokio::spawn(future)
});
ours!(Smol, |_place, future| shim::smol::spawn(future));
ours!(AsyncStd, |_place, future| shim::async_std::spawn(future));
