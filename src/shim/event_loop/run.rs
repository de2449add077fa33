//! Running a loop: its turns, and its main future.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe, Location};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Waker};

use super::debug::{Debug, Unit};
use super::{EventLoop, Shared};
use crate::catch::catch;
use crate::current;
use crate::shim::block::BlockOnError;
use crate::shim::queue::{Entry, Next, Turns};
use crate::shim::task_list::{ListedId, Step, TaskList};
use crate::shim::thread_state::{self, Marked};
use crate::sync::atomic::{AtomicBool, Ordering};

pub(super) fn refuse_nested() -> Result<(), BlockOnError> {
    if thread_state::is(|state| &state.in_event_loop) {
        return Err(BlockOnError::new(
            "this thread is running an event loop already; await the future, or spawn it",
        ));
    }
    Ok(())
}

/// Marks this thread as running a loop, until dropped. Refused if it is running one already.
pub(super) fn start_running() -> Result<Marked, BlockOnError> {
    refuse_nested()?;
    Ok(thread_state::mark(|state| &state.in_event_loop, true))
}

impl EventLoop {
    /// Turns until the turn after `main` is done, or that in which somebody calls `stop`, and
    /// returns whether `main` is done. It is asked when its turn comes.
    pub(super) fn run(&self, main: &mut dyn FnMut() -> bool) -> bool {
        current::enter_again(&self.scope(), || self.run_entered(main))
    }

    fn run_entered(&self, main: &mut dyn FnMut() -> bool) -> bool {
        let shared = &*self.shared;
        let mut driver = self.driver.borrow_mut();
        let Some(driver) = driver.as_mut() else {
            return false;
        };
        let _running = IsRunning::set(&shared.running);
        let waker = Waker::from(Arc::clone(&shared.parker));
        let mut turns = LoopTurns {
            main,
            done: false,
            debug: &self.debug,
            tasks: &shared.tasks,
        };
        let mut running = driver.start();
        loop {
            let is_last = turns.done;
            // All that is ready, as asyncio does.
            let any = running.turn(usize::MAX, &mut turns);
            // A stop is over with its run.
            let stop = shared.take_stop();
            if is_last || stop {
                return turns.done;
            }
            // One more turn, as in asyncio: for what `main` has scheduled in its last step.
            if any {
                continue;
            }
            match running.next(&waker) {
                Next::Again => {}
                Next::At(when) => {
                    if !shared.clock.jump_to(when) {
                        shared.parker.park_until(Some(when));
                    }
                }
                Next::Waiting | Next::Idle => shared.parker.park_until(None),
            }
        }
    }

    pub(crate) fn block(
        &self,
        mut future: Pin<&mut dyn Future<Output = ()>>,
    ) -> Result<(), BlockOnError> {
        let _running = start_running()?;
        let main = Arc::new(WakeMain {
            shared: Arc::clone(&self.shared),
            queued: AtomicBool::new(false),
        });
        let waker = Waker::from(Arc::clone(&main));
        waker.wake_by_ref();
        let mut panicked = None;
        let mut poll_main = || {
            // Not a store: this has to see what was done before the mark was set, by those who left
            // it at that.
            main.queued.swap(false, Ordering::AcqRel);
            let mut cx = task::Context::from_waker(&waker);
            let poll = AssertUnwindSafe(|| future.as_mut().poll(&mut cx).is_ready());
            panic::catch_unwind(poll).unwrap_or_else(|payload| {
                panicked = Some(payload);
                true
            })
        };
        let run = panic::catch_unwind(AssertUnwindSafe(|| self.run(&mut poll_main)));
        if let Some(payload) = panicked {
            // A later panic, of a runnable that the loop was handed, has nowhere to go.
            catch(|| drop(run));
            panic::resume_unwind(payload);
        }
        if run.unwrap_or_else(|payload| panic::resume_unwind(payload)) {
            Ok(())
        } else {
            Err(BlockOnError::new(
                "the event loop was stopped before the future had completed",
            ))
        }
    }
}

/// Marks a loop as running, until dropped.
struct IsRunning<'a>(&'a AtomicBool);

impl<'a> IsRunning<'a> {
    fn set(running: &'a AtomicBool) -> IsRunning<'a> {
        running.store(true, Ordering::Release);
        IsRunning(running)
    }
}

impl Drop for IsRunning<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// How the loop runs what waits in its line.
struct LoopTurns<'a> {
    main: &'a mut dyn FnMut() -> bool,
    done: bool,
    debug: &'a Debug,
    tasks: &'a TaskList,
}

impl Turns for LoopTurns<'_> {
    fn call(&mut self, run: impl FnOnce() -> Option<&'static Location<'static>>) {
        self.debug.watch(Unit::Callback, run);
    }

    #[inline]
    fn step(&mut self, step: async_task::Runnable<Step>) {
        let tasks = self.tasks;
        self.debug.watch(Unit::Task, || {
            let location = step.metadata().location;
            if Step::run(step, tasks) {
                super::give_notices(tasks);
            }
            Some(location)
        });
    }

    fn abort(&mut self, task: ListedId) {
        self.tasks.abort_here(task);
    }

    fn runnable(&mut self, runnable: async_task::Runnable) {
        self.debug.watch(Unit::Task, || {
            runnable.run();
            None
        });
    }

    fn main(&mut self) {
        if !self.done {
            self.debug.watch(Unit::Main, || {
                self.done = (self.main)();
                None
            });
        }
    }
}

/// Enqueues the main future.
struct WakeMain {
    shared: Arc<Shared>,
    queued: AtomicBool,
}

impl task::Wake for WakeMain {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            // The loop drives its queue itself.
            self.shared.queue.push_entry(|| Entry::Main, &mut drop);
        }
    }
}
