//! The threads for blocking work of executors that have none of their own.
//!
//! They are started when there is work for them, up to [`MAX_THREADS`], and end when they have had
//! none for [`KEEP_ALIVE`]. Work is begun in the order in which it is submitted.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::catch::catch;

/// How many threads there are at most.
const MAX_THREADS: usize = 500;

/// How long a thread waits for work before it ends.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How much work may wait for each idle thread before another one is started. Most is short, and
/// the thread that begins one looks again, so that nothing waits for work that does not end.
const WAITING_PER_IDLE: usize = 5;

type BlockingJob = Box<dyn FnOnce() + Send>;

/// Runs `work` on a thread that may block, soon.
///
/// # Errors
///
/// If no thread can be started, and there is none. `work` has been dropped then.
pub(crate) fn submit(work: impl FnOnce() + Send + 'static) -> Result<(), NoThread> {
    static POOL: Pool = Pool::new(MAX_THREADS, KEEP_ALIVE, start);
    POOL.submit(Box::new(work))
}

fn start(pool: &'static Pool) -> io::Result<()> {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // No longer than what Linux shows of a thread's name, up to 99.
    let builder = thread::Builder::new().name(format!("aio-blocking-{number}"));
    builder.spawn(|| pool.run()).map(drop)
}

/// There is no thread for blocking work, and none can be started.
#[derive(Debug)]
pub(crate) struct NoThread(io::Error);

impl fmt::Display for NoThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no thread for blocking work can be started ({}), and there is none: raise the \
             process's limit of threads, or give the executor threads of its own, by \
             `Executor::spawn_blocking`",
            self.0
        )
    }
}

impl Error for NoThread {}

/// A pool of threads. It is never dropped: one that is idle waits in it also when the process ends.
struct Pool {
    state: Mutex<State>,
    submitted: Condvar,
    max_threads: usize,
    keep_alive: Duration,
    /// Starts a thread that calls [`run`](Pool::run).
    start: fn(&'static Pool) -> io::Result<()>,
}

struct State {
    queue: VecDeque<BlockingJob>,
    /// Those that run work and those that are idle.
    threads: usize,
    /// Those that wait for work, and those that are being started.
    idle: usize,
}

impl State {
    /// Whether to start another thread. It is counted as idle from now on.
    fn grows(&mut self, max_threads: usize) -> bool {
        let grows = self.queue.len() > self.idle * WAITING_PER_IDLE && self.threads < max_threads;
        if grows {
            self.threads += 1;
            self.idle += 1;
        }
        grows
    }
}

impl Pool {
    const fn new(
        max_threads: usize,
        keep_alive: Duration,
        start: fn(&'static Pool) -> io::Result<()>,
    ) -> Pool {
        Pool {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                threads: 0,
                idle: 0,
            }),
            submitted: Condvar::new(),
            max_threads,
            keep_alive,
            start,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No work is run or dropped under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&'static self, work: BlockingJob) -> Result<(), NoThread> {
        let grows = {
            let mut state = self.lock();
            state.queue.push_back(work);
            self.submitted.notify_one();
            state.grows(self.max_threads)
        };
        if grows { self.grow() } else { Ok(()) }
    }

    /// Starts the thread that [`State::grows`] has counted.
    fn grow(&'static self) -> Result<(), NoThread> {
        let Err(error) = (self.start)(self) else {
            return Ok(());
        };
        let stranded = {
            let mut state = self.lock();
            state.threads -= 1;
            state.idle -= 1;
            // Any other thread looks for work when it has done its own.
            match state.threads {
                0 => mem::take(&mut state.queue),
                _ => VecDeque::new(),
            }
        };
        if stranded.is_empty() {
            return Ok(());
        }
        for work in stranded {
            catch(|| drop(work));
        }
        Err(NoThread(error))
    }

    /// What a thread does.
    fn run(&'static self) {
        let mut state = self.lock();
        loop {
            let waited = self
                .submitted
                .wait_timeout_while(state, self.keep_alive, |state| state.queue.is_empty());
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            let Some(work) = state.queue.pop_front() else {
                state.threads -= 1;
                return;
            };
            let grows = state.grows(self.max_threads);
            drop(state);
            if grows {
                // What waits is this thread's then, if nobody else comes for it.
                let _none: Result<(), NoThread> = self.grow();
            }
            catch(work);
            state = self.lock();
            state.idle += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::{Barrier, mpsc};
    use std::thread::{JoinHandle, ThreadId};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    type Threads = Mutex<Vec<JoinHandle<()>>>;

    /// A pool with a list of its threads.
    macro_rules! pool {
        ($max_threads:expr, $keep_alive:expr) => {{
            static THREADS: Threads = Threads::new(Vec::new());
            static POOL: Pool = Pool::new($max_threads, $keep_alive, |pool| {
                let thread = thread::spawn(|| pool.run());
                THREADS.lock().unwrap().push(thread);
                Ok(())
            });
            (&POOL, &THREADS)
        }};
    }

    fn submit(pool: &'static Pool, work: impl FnOnce() + Send + 'static) {
        pool.submit(Box::new(work)).unwrap();
    }

    /// Work that begins, and then waits until the sender goes.
    fn busy(pool: &'static Pool) -> mpsc::Sender<()> {
        let (begun, began) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        submit(pool, move || {
            begun.send(()).unwrap();
            let _gone = ended.recv();
        });
        began.recv().unwrap();
        end
    }

    fn until(pool: &'static Pool, holds: impl Fn(&State) -> bool) {
        while !holds(&pool.lock()) {
            thread::yield_now();
        }
    }

    /// The thread that runs work which is submitted now.
    fn thread_of_work(pool: &'static Pool) -> ThreadId {
        let (sender, receiver) = mpsc::channel();
        submit(pool, move || sender.send(thread::current().id()).unwrap());
        receiver.recv().unwrap()
    }

    #[test]
    fn work_is_begun_in_order() {
        let (pool, threads) = pool!(1, LONG);
        let end = busy(pool);
        let (sender, receiver) = mpsc::channel();
        for n in 0..100 {
            let sender = sender.clone();
            submit(pool, move || sender.send(n).unwrap());
        }
        drop((end, sender));
        assert!(receiver.into_iter().eq(0..100));
        assert_eq!(threads.lock().unwrap().len(), 1);
    }

    #[test]
    fn threads_are_started_for_work_that_waits_up_to_the_maximum() {
        let (pool, threads) = pool!(3, LONG);
        // Each waits for the others.
        let barrier = Arc::new(Barrier::new(4));
        for _ in 0..3 {
            let barrier = Arc::clone(&barrier);
            submit(pool, move || {
                barrier.wait();
            });
        }
        barrier.wait();
        let ends = [(); 3].map(|()| busy(pool));
        let (sender, receiver) = mpsc::channel();
        submit(pool, move || sender.send(()).unwrap());
        assert_eq!(pool.lock().queue.len(), 1);
        let [first, others @ ..] = ends;
        drop(first);
        receiver.recv().unwrap();
        drop(others);
        assert_eq!(threads.lock().unwrap().len(), 3);
    }

    #[test]
    fn not_every_piece_of_work_starts_a_thread() {
        // Threads that come to work when all is submitted.
        static GATE: Mutex<()> = Mutex::new(());
        static POOL: Pool = Pool::new(500, LONG, |pool| {
            thread::spawn(|| {
                drop(GATE.lock());
                pool.run();
            });
            Ok(())
        });
        let closed = GATE.lock();
        let (sender, receiver) = mpsc::channel();
        for n in 0..100 {
            let sender = sender.clone();
            submit(&POOL, move || sender.send(n).unwrap());
        }
        let state = POOL.lock();
        assert_eq!((state.threads, state.idle), (20, 20));
        drop((state, closed, sender));
        assert_eq!(receiver.into_iter().count(), 100);
    }

    #[test]
    fn an_idle_thread_takes_the_next_work() {
        let (pool, threads) = pool!(500, LONG);
        let first = thread_of_work(pool);
        for _ in 0..10 {
            until(pool, |state| state.idle == 1);
            assert_eq!(thread_of_work(pool), first);
        }
        assert_eq!(threads.lock().unwrap().len(), 1);
    }

    #[test]
    fn idle_threads_end_and_others_are_started_then() {
        let (pool, threads) = pool!(500, Duration::ZERO);
        let mut started = Vec::new();
        for _ in 0..3 {
            started.push(thread_of_work(pool));
            for thread in mem::take(&mut *threads.lock().unwrap()) {
                thread.join().unwrap();
            }
            let state = pool.lock();
            assert_eq!((state.threads, state.idle, state.queue.len()), (0, 0, 0));
        }
        started.dedup();
        assert_eq!(started.len(), 3);
    }

    #[test]
    fn a_panic_ends_neither_thread_nor_queue() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic::resume_unwind(Box::new("a payload"));
            }
        }
        let (pool, threads) = pool!(1, LONG);
        let end = busy(pool);
        submit(pool, || panic::resume_unwind(Box::new("on purpose")));
        submit(pool, || panic::resume_unwind(Box::new(Bomb)));
        let bomb = Bomb;
        submit(pool, move || drop(bomb));
        let (sender, receiver) = mpsc::channel();
        submit(pool, move || sender.send(()).unwrap());
        drop(end);
        receiver.recv().unwrap();
        until(pool, |state| state.idle == 1);
        assert_eq!(threads.lock().unwrap().len(), 1);
    }

    #[test]
    fn work_leaves_nothing_on_its_thread() {
        let (pool, _) = pool!(1, LONG);
        let end = busy(pool);
        let value = Arc::new(());
        let held = Arc::clone(&value);
        submit(pool, move || assert_eq!(Arc::strong_count(&held), 2));
        let left = Arc::downgrade(&value);
        let (sender, receiver) = mpsc::channel();
        submit(pool, move || {
            let count = left.strong_count();
            sender.send((count, crate::copy_context().len())).unwrap();
        });
        drop(end);
        assert_eq!(receiver.recv(), Ok((1, 0)));
    }

    #[test]
    fn threads_that_cannot_be_started() {
        static FAILS: AtomicBool = AtomicBool::new(true);
        static POOL: Pool = Pool::new(500, LONG, |pool| {
            if FAILS.load(Ordering::SeqCst) {
                return Err(io::Error::other("no more of them"));
            }
            thread::spawn(|| pool.run());
            Ok(())
        });
        // Without any, work is dropped, and whoever submits it is told.
        let value = Arc::new(());
        let held = Arc::clone(&value);
        let error = POOL.submit(Box::new(move || drop(held))).unwrap_err();
        assert_eq!(Arc::strong_count(&value), 1);
        let text = error.to_string();
        assert!(text.contains("no more of them") && text.contains("spawn_blocking"));
        let state = POOL.lock();
        assert_eq!((state.threads, state.idle, state.queue.len()), (0, 0, 0));
        drop(state);
        // With one, that does the rest, too.
        FAILS.store(false, Ordering::SeqCst);
        let end = busy(&POOL);
        FAILS.store(true, Ordering::SeqCst);
        let (sender, receiver) = mpsc::channel();
        for n in 0..10 {
            let sender = sender.clone();
            submit(&POOL, move || sender.send(n).unwrap());
        }
        drop((end, sender));
        assert!(receiver.into_iter().eq(0..10));
        assert_eq!(POOL.lock().threads, 1);
    }
}
