//! Units of work: threads, futures, functions, tasks, callbacks and jobs, and the contexts that
//! they are run and dropped in.

use std::future::Future;
use std::mem;
use std::panic;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{self, Poll, Waker};
use std::thread;

use aiocontextvars::ContextExt;
use aiocontextvars::shim::{self, JoinError, JoinHandle};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::any_var::on;
use crate::program::{Action, Back, Place, Step, Var};
use crate::reference::{Entry, Frame};
use crate::run::{Hand, Planned, Run, Task, Units};
use crate::steps::Given;

/// How often an executor's first unit waits for the others before it gives them up.
const PATIENCE: usize = 10_000;

/// A unit's body. As a future it stops at each `Yield`. When it is dropped, it looks and sets once
/// more.
pub(crate) struct Work {
    run: Arc<Run>,
    number: u32,
    steps: std::vec::IntoIter<Step>,
    entry: Entry,
    frame: Frame,
    /// Whether an executor has it.
    unit: bool,
}

impl Work {
    fn new(run: &Arc<Run>, step: &Step, entry: Entry) -> Work {
        Work {
            run: Arc::clone(run),
            number: step.number,
            steps: step.body.clone().into_iter(),
            entry,
            frame: Frame::Inside,
            unit: false,
        }
    }

    /// On a thread that it has to itself.
    fn on_thread(mut self) -> Work {
        self.frame = Frame::Thread;
        self
    }

    fn counted(mut self) -> Work {
        self.unit = true;
        if let Some(units) = self.run.state().executors.last_mut() {
            units.alive += 1;
        }
        self
    }

    /// Goes on up to the next `Yield`, if there is one.
    fn go_on(&mut self) -> Poll<()> {
        let run = Arc::clone(&self.run);
        let Some(context) = run.state().model.polled_in(self.entry) else {
            run.fail("a unit runs in a context that is entered elsewhere");
            return Poll::Ready(());
        };
        let _inside = run.enter(self.frame, context);
        run.state().polls += 1;
        run.check();
        for step in self.steps.by_ref() {
            if let Action::Yield = step.action {
                return Poll::Pending;
            }
            run.steps(&[step]);
        }
        Poll::Ready(())
    }

    /// The whole of it, as a function.
    fn call(mut self) {
        while self.go_on().is_pending() {}
    }
}

impl Future for Work {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let poll = self.get_mut().go_on();
        if poll.is_pending() {
            cx.waker().wake_by_ref();
        }
        poll
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let run = &self.run;
        let context = {
            let model = &mut run.state().model;
            model.dropped_in(self.entry)
        };
        let _inside = run.enter(self.frame, context);
        run.check();
        let token = on!(Var::C.real(), |var| var.set(run.value(self.number)));
        drop(token);
        run.state().model.set(Var::C, Some(self.number));
        run.check();
        if self.unit {
            if let Some(units) = run.state().executors.last_mut() {
                units.alive -= 1;
            }
        }
    }
}

impl Run {
    pub(crate) fn unit(self: &Arc<Self>, step: &Step) {
        let number = step.number;
        match step.action {
            Action::FreshThread => {
                let context = self.state().model.new_context();
                let work = Work::new(self, step, Entry::Owned(context)).on_thread();
                self.join(thread::spawn(|| work.call()));
            }
            Action::Thread(place) => {
                let (given, entry) = self.given(place);
                if let Entry::Shared(context) = entry {
                    if self.state().model.is_entered(context) {
                        // It would wait for this thread.
                        return;
                    }
                }
                let work = Work::new(self, step, entry).on_thread();
                self.join(match given {
                    Given::Inherited => shim::thread::spawn(|| work.call()),
                    Given::Owned(context) => shim::thread::spawn_in(context, || work.call()),
                    Given::Shared(context) => shim::thread::spawn_in(context, || work.call()),
                });
            }
            Action::Future(place) => {
                let (given, entry) = self.given(place);
                let work = Work::new(self, step, entry);
                let future: BoxFuture<'static, ()> = match given {
                    Given::Inherited => Box::pin(work.in_current_context()),
                    Given::Owned(context) => Box::pin(work.in_context(context)),
                    Given::Shared(context) => Box::pin(work.in_context(context)),
                };
                self.keep(number, Hand::Future(future, entry));
            }
            Action::Scope(var) => {
                let entry = self.state().model.scope(var, number);
                let work = Work::new(self, step, entry);
                let value = self.value(number);
                let future = on!(var.real(), |var| var.scope(value, work).boxed());
                self.keep(number, Hand::Future(future, entry));
            }
            Action::Bind(place) => {
                let (given, entry) = self.given(place);
                let work = Work::new(self, step, entry);
                let call: Box<dyn FnOnce() + Send> = match given {
                    Given::Inherited => Box::new(shim::bind(|| work.call())),
                    Given::Owned(context) => Box::new(context.bind(|| work.call())),
                    Given::Shared(_) => unreachable!("only an owned context has `bind`"),
                };
                self.keep(number, Hand::Call(call));
            }
            Action::Resume(back) => {
                let work = back.take_from(&mut self.state().works);
                if let Some((made_by, work)) = work {
                    self.uses(made_by);
                    self.resume(made_by, work);
                }
            }
            Action::DropWork(back) => {
                let work = back.take_from(&mut self.state().works);
                drop(work);
            }
            Action::Abort(back) => self.abort(back),
            Action::BlockOn => self.run_executor(step),
            _ if !self.state().model.is_in_executor() => self.run_executor(&Step {
                number,
                action: Action::BlockOn,
                body: vec![step.clone()],
            }),
            Action::Spawn(place) => self.spawn(step, place),
            Action::CallSoon(place) => self.call_soon(step, place),
            Action::SpawnBlocking => self.spawn_blocking(step),
            _ => unreachable!("not a unit"),
        }
    }

    fn keep(&self, number: u32, work: Hand) {
        self.state().works.push((number, work));
    }

    fn join(&self, thread: thread::JoinHandle<()>) {
        self.block(|| {
            if let Err(payload) = thread.join() {
                panic::resume_unwind(payload);
            }
        });
    }

    fn resume(&self, made_by: u32, work: Hand) {
        match work {
            Hand::Call(f) => self.block(f),
            Hand::Future(mut future, entry) => {
                let (parks, before) = {
                    let mut state = self.state();
                    (state.model.polled_in(entry).is_none(), state.polls)
                };
                let mut poll = Poll::Ready(());
                let cx = &mut task::Context::from_waker(Waker::noop());
                let unwinding = self.attempt(|| poll = future.as_mut().poll(cx));
                let parked = self.state().polls == before;
                self.expect("does the poll wait", parked, parks);
                if poll.is_pending() {
                    self.keep(made_by, Hand::Future(future, entry));
                } else {
                    drop(future);
                }
                Planned::go_on(unwinding);
            }
        }
    }

    fn run_executor(self: &Arc<Self>, step: &Step) {
        if self.state().model.is_in_executor() {
            let outcome = shim::try_block_on(async {});
            self.expect("is a nested executor refused", outcome.is_err(), true);
            return;
        }
        let context = self.state().model.inherit();
        let _inside = self.enter(Frame::Executor, context);
        self.state().executors.push(Units::default());
        let work = Work::new(self, step, Entry::Owned(context));
        let main = async {
            work.await;
            self.wait_for_units().await;
        };
        let unwinding = self.attempt(|| {
            if let Err(error) = self.block_on(Box::pin(main)) {
                self.fail(error);
            }
        });
        let units = self.state().executors.pop();
        // What a panic has left has been dropped with the executor.
        let left = units.map_or(0, |units| units.alive);
        self.expect("units left behind", left, 0);
        Planned::go_on(unwinding);
    }

    async fn wait_for_units(&self) {
        let alive = || self.state().executors.last().map_or(0, |units| units.alive);
        for _ in 0..PATIENCE {
            if alive() == 0 {
                break;
            }
            shim::yield_now().await;
        }
        if alive() > 0 {
            return self.fail("some units never end");
        }
        let units = self.state().executors.last_mut().map(mem::take);
        for Task { handle, aborted } in units.unwrap_or_default().tasks {
            match handle.await.map_err(JoinError::try_into_panic) {
                Ok(()) => {}
                // A task is the last block that a panic unwinds out of.
                Err(Ok(payload)) => drop(self.attempt(|| panic::resume_unwind(payload))),
                Err(Err(_cancelled)) => self.expect("was the task aborted", aborted, true),
            }
        }
    }

    fn abort(&self, back: Back) {
        let abort_handle = {
            let mut state = self.state();
            let units = state.executors.last_mut();
            let task = units.and_then(|units| back.find_in(&mut units.tasks));
            task.map(|task| {
                task.aborted = true;
                task.handle.abort_handle()
            })
        };
        // Not under the lock: the task may be dropped now.
        if let Some(abort_handle) = abort_handle {
            abort_handle.abort();
        }
    }

    fn started(&self, handle: JoinHandle<()>) {
        if let Some(units) = self.state().executors.last_mut() {
            let aborted = false;
            units.tasks.push(Task { handle, aborted });
        }
    }

    /// The context for a unit, unless it could never run there.
    fn given_to_unit(&self, place: Place) -> Option<(Given, Entry)> {
        let (given, entry) = self.given(place);
        if let Entry::Shared(context) = entry {
            if self.state().model.would_deadlock(context) {
                return None;
            }
        }
        Some((given, entry))
    }

    fn spawn(self: &Arc<Self>, step: &Step, place: Place) {
        let Some((given, entry)) = self.given_to_unit(place) else {
            return;
        };
        let work = Work::new(self, step, entry).counted();
        self.started(match given {
            Given::Inherited => shim::spawn(work),
            Given::Owned(context) => shim::spawn_in(context, work),
            Given::Shared(context) => shim::spawn_in(context, work),
        });
    }

    fn call_soon(self: &Arc<Self>, step: &Step, place: Place) {
        let Some((given, entry)) = self.given_to_unit(place) else {
            return;
        };
        let work = Work::new(self, step, entry).counted();
        let run = Arc::clone(self);
        let call = move || run.block(|| work.call());
        match given {
            Given::Inherited => shim::call_soon(call),
            Given::Owned(context) => shim::call_soon_in(context, call),
            Given::Shared(context) => shim::call_soon_in(context, call),
        };
    }

    /// Waits for the job, because it runs on another thread.
    fn spawn_blocking(self: &Arc<Self>, step: &Step) {
        let (_, entry) = self.given(Place::Inherited);
        let work = Work::new(self, step, entry).on_thread().counted();
        let (done, wait) = mpsc::channel::<()>();
        let task = shim::spawn_blocking(move || {
            let _done = done;
            work.call();
        });
        // Nothing is ever sent.
        let _ended = wait.recv();
        self.started(task);
    }
}
