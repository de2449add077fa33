//! The thread's current context, and the one way to change which context that is.
//!
//! It is in a thread-local without a destructor, so that reading, entering and leaving work for as long as the thread
//! does, also while its thread-locals are destroyed. Only the root context, the thread's own, is freed at thread exit,
//! by [`RootGuard`].

use std::mem;
use std::sync::OnceLock;

use crate::contain::{contain, in_destructor};
use crate::context::Context;
use crate::node::{Garbage, Node, Value};
use crate::raw::Contexts;
use crate::shared::SharedContext;
use crate::slot::Slot;
use crate::sync::thread_local;
use crate::var::ContextVar;

/// How a context came to be current.
pub(crate) enum Kind {
    /// Nothing was entered: the thread's own context.
    Root,
    /// `run`, a task, a callback, a job.
    Inside,
    /// A `block_on`, entered while this task was running.
    BlockOn(RunningTask),
    /// A shared context: writes are published to it.
    Shared(SharedContext),
}

const ROOT_KIND: &Kind = &Kind::Root;

thread_local! {
    static CONTEXTS: Contexts<Kind> = const { Contexts::new(Context::new(), ROOT_KIND) };
    static ROOT: RootGuard = const { RootGuard };
}

/// Runs `f`, which must not call user code, on the current context.
#[inline]
fn peek<R>(f: impl FnOnce(&Context, &Kind) -> R) -> R {
    Contexts::here(&CONTEXTS).peek(f)
}

/// Frees the thread's own context when the thread exits.
struct RootGuard;

impl Drop for RootGuard {
    fn drop(&mut self) {
        // In a frame (the process exits inside one) the root context is out of reach, and the process
        // is about to free everything anyway.
        let garbage = Contexts::here(&CONTEXTS).change(|context, kind| match kind {
            Kind::Root => mem::take(context),
            _ => Context::new(),
        });
        // A panic here would end the process.
        contain(|| drop(garbage));
    }
}

/// Calls `f` on the current value of a variable, where it is.
#[inline]
pub(crate) fn read<T, R>(var: &ContextVar<T>, f: impl FnOnce(Option<&T>) -> R) -> R
where
    T: Send + Sync + 'static,
{
    Contexts::here(&CONTEXTS).read(var, f)
}

/// A copy of the current context.
#[inline]
pub(crate) fn copy() -> Context {
    peek(|context, _| context.clone())
}

/// A copy of the current context for a new unit of work: without `local` variables.
#[inline]
pub(crate) fn inherit() -> Context {
    peek(|context, _| context.inherit())
}

/// Whether `shared` is the context of the innermost frame.
pub(crate) fn is_innermost(shared: &SharedContext) -> bool {
    peek(|_, kind| matches!(kind, Kind::Shared(current) if current.ptr_eq(shared)))
}

/// Why a write is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// The running task has no context of its own.
    ForeignTask,
    /// The thread's own context has been freed: the thread is exiting.
    ThreadExit,
}

/// Whether a write would stay within the work that makes it.
#[inline]
pub(crate) fn check_write() -> Result<(), Refusal> {
    let is_inside = peek(|_, kind| matches!(kind, Kind::Inside | Kind::Shared(_)));
    if is_inside { Ok(()) } else { check_outside() }
}

fn check_outside() -> Result<(), Refusal> {
    // Asking runs code of runtimes, so not in `peek`.
    let block_on = peek(|_, kind| match kind {
        Kind::BlockOn(task) => Some(*task),
        _ => None,
    });
    match block_on {
        Some(task) if task.still_runs() => Ok(()),
        None if !RunningTask::now().is_known() => {
            ROOT.try_with(|_| ()).map_err(|_| Refusal::ThreadExit)
        }
        _ => Err(Refusal::ForeignTask),
    }
}

/// Replaces the slot of a variable by what `f` makes of it, and returns `f`'s second result.
///
/// `f` gets the id of the context and the slot, settled, and must not call user code. Callers that bring
/// something new have asked [`check_write`].
pub(crate) fn update<R>(var: u64, local: bool, f: impl FnOnce(u64, Slot) -> (Slot, R)) -> R {
    change(|context| {
        let id = context.ensure_id();
        let (slot, result) = f(id, context.settled_slot(var));
        (result, context.replace_slot(var, local, slot))
    })
}

/// Replaces the value of a variable that has one and no guards, as [`update`] would. Returns the id of the context and
/// the value that was there, or `None` if there is more to do; then `value` is still there.
#[inline]
pub(crate) fn swap(var: u64, value: &mut Option<Value>) -> Option<(u64, Value)> {
    let (context, old, shared) = Contexts::here(&CONTEXTS).change(|context, kind| match kind {
        // It would have to be published.
        Kind::Shared(_) => None,
        _ => {
            let (old, shared) = context.swap_value(var, value)?;
            Some((context.id(), old, shared))
        }
    })?;
    drop(shared);
    Some((context, old))
}

#[inline]
fn change<R>(f: impl FnOnce(&mut Context) -> (R, Garbage)) -> R {
    let (result, garbage, published) = Contexts::here(&CONTEXTS).change(|context, kind| {
        let (result, garbage) = f(context);
        let published: Option<Context> = match kind {
            Kind::Shared(shared) => Some(shared.publish(context)),
            _ => None,
        };
        (result, garbage, published)
    });
    drop(published);
    drop(garbage);
    result
}

/// The id of the current context, 0 if it was never written.
pub(crate) fn id() -> u64 {
    peek(|context, _| context.id())
}

/// Calls `f` while `context` is current; then `context` has what was set inside.
#[inline]
pub(crate) fn enter<R>(context: &mut Context, kind: &Kind, f: impl FnOnce() -> R) -> R {
    Contexts::here(&CONTEXTS).enter(context, kind, f)
}

/// Calls `f` in an empty context, for user code that is called outside of any context of its own.
pub(crate) fn enter_empty<R>(f: impl FnOnce() -> R) -> R {
    Frame::inside(Context::new()).enter(f)
}

/// A context to be entered once, and let go of then.
pub(crate) struct Frame {
    context: Context,
    /// A shared context was marked as entered, and is released with the frame.
    kind: Kind,
}

impl Frame {
    pub(crate) fn new(context: Context, kind: Kind) -> Frame {
        Frame { context, kind }
    }

    /// For work that has `context` to itself.
    #[inline]
    pub(crate) fn inside(context: Context) -> Frame {
        Frame::new(context, Kind::Inside)
    }

    /// Calls `f` in it.
    #[inline]
    pub(crate) fn enter<R>(mut self, f: impl FnOnce() -> R) -> R {
        enter(&mut self.context, &self.kind, f)
    }

    /// Calls `f` in the frame, if there is one.
    #[inline]
    pub(crate) fn enter_any<R>(frame: Option<Frame>, f: impl FnOnce() -> R) -> R {
        match frame {
            Some(frame) => frame.enter(f),
            None => f(),
        }
    }
}

impl Drop for Frame {
    /// The thread is in the outer frame, if this one was entered, so values may be dropped here.
    #[inline]
    fn drop(&mut self) {
        let kind = mem::replace(&mut self.kind, Kind::Inside);
        if let Kind::Shared(shared) = &kind {
            shared.release();
        }
        drop_values(mem::take(&mut self.context));
        if let Kind::Shared(shared) = kind {
            shared.into_last().into_iter().for_each(drop_values);
        }
    }
}

/// Drops the context of work that has ended, and the values that nobody else has.
///
/// Their destructors may write, but the outer frame may be that of a runtime's task, which refuses writes, or of
/// a callback queue, which would keep what they write. So they run in an empty context.
#[inline]
pub(crate) fn drop_values(context: Context) {
    if let Some(node) = context.into_last_node() {
        drop_last(node);
    }
}

#[cold]
fn drop_last(node: Node) {
    enter_empty(|| in_destructor(|| drop(node)));
}

/// Tells which task of a runtime is running on this thread.
pub(crate) type Probe = fn() -> Option<u64>;

/// One place for each runtime that can be asked.
static PROBES: [OnceLock<Probe>; 4] = [const { OnceLock::new() }; 4];

/// From now on, writes are refused in tasks that `probe` knows and this crate did not start.
#[cfg_attr(
    not(any(feature = "tokio", feature = "async-std")),
    expect(dead_code, reason = "only runtimes with task ids install a probe")
)]
pub(crate) fn install_probe(probe: Probe) {
    for place in &PROBES {
        if place.set(probe).is_ok() {
            return;
        }
    }
}

/// The task that runs on this thread, as far as those probes know which are asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RunningTask {
    /// How many probes are asked.
    probes: u8,
    /// The place of the probe that knows the task, and the runtime's own id for it.
    runtime: Option<u8>,
    id: u64,
}

impl RunningTask {
    /// Asks all probes that there are.
    pub(crate) fn now() -> RunningTask {
        let installed = PROBES.iter().map_while(OnceLock::get);
        RunningTask::ask(installed.fold(0, |probes, _| probes + 1))
    }

    fn ask(probes: u8) -> RunningTask {
        let mut asked = (0..probes).zip(PROBES.iter().map_while(OnceLock::get));
        let known = asked.find_map(|(runtime, probe)| Some((runtime, probe()?)));
        RunningTask {
            probes,
            runtime: known.map(|(runtime, _)| runtime),
            id: known.map_or(0, |(_, id)| id),
        }
    }

    fn is_known(self) -> bool {
        self.runtime.is_some()
    }

    /// Whether this task is running. The probes that it was told by are asked again, and none that were installed
    /// since: they would make another task of it.
    fn still_runs(self) -> bool {
        RunningTask::ask(self.probes) == self
    }
}
