//! The thread's current context, and the one way to change which context that is.
//!
//! The cell is `const` and has no destructor, so that reading, entering and leaving work for as long as
//! the thread does, also while its thread-locals are destroyed. Only the root context, the thread's
//! own, is freed at thread exit, by [`RootGuard`].
//!
//! Invariants:
//! - The cell is borrowed only while no user code can run ([`peek`], [`update`]).
//! - Frames nest: what [`enter`] or [`enter_for_drop`] put in is taken out by the matching leave, in
//!   reverse order, also when the code between them panics.

use std::marker::PhantomData;
use std::mem;
use std::sync::OnceLock;

use crate::contain::{contain, in_destructor};
use crate::context::Context;
use crate::frames::Frames;
use crate::node::Value;
use crate::shared::SharedContext;
use crate::slot::Slot;
use crate::sync::thread_local;

/// A frame: a context and how it came to be current.
pub(crate) struct Frame {
    pub(crate) context: Context,
    pub(crate) kind: FrameKind,
}

pub(crate) enum FrameKind {
    /// Nothing was entered: the thread's own context.
    Root,
    /// `run`, a task, a callback, a job.
    Inside,
    /// A `block_on`, entered while this task was running.
    BlockOn(RunningTask),
    /// A shared context: writes are published to it.
    Shared(SharedContext),
}

impl Frame {
    const fn root() -> Frame {
        Frame {
            context: Context::new(),
            kind: FrameKind::Root,
        }
    }
}

thread_local! {
    static FRAMES: Frames<Frame> = const { Frames::new(Frame::root()) };
    static ROOT: RootGuard = const { RootGuard };
}

#[inline]
fn swap(frame: &mut Frame) {
    FRAMES.with(|frames| frames.swap(frame));
}

/// Runs `f`, which must not call user code, on the current frame.
#[inline]
fn peek<R>(f: impl FnOnce(&mut Frame) -> R) -> R {
    FRAMES.with(|frames| frames.peek(f))
}

/// Frees the thread's own context when the thread exits.
struct RootGuard;

impl Drop for RootGuard {
    fn drop(&mut self) {
        // In a frame (the process exits inside one) the root context is out of reach, and the process
        // is about to free everything anyway.
        let garbage = peek(|frame| match frame.kind {
            FrameKind::Root => mem::take(&mut frame.context),
            _ => Context::new(),
        });
        // A panic here would end the process.
        contain(|| drop(garbage));
    }
}

/// Reads the current value of a variable.
pub(crate) fn value(var: u64) -> Option<Value> {
    peek(|frame| frame.context.value(var).cloned())
}

/// A copy of the current context.
pub(crate) fn copy() -> Context {
    peek(|frame| frame.context.clone())
}

/// A copy of the current context for a new unit of work: without `local` variables.
#[inline]
pub(crate) fn inherit() -> Context {
    peek(|frame| frame.context.inherit())
}

/// Whether `shared` is the context of the innermost frame.
pub(crate) fn is_innermost(shared: &SharedContext) -> bool {
    peek(|frame| matches!(&frame.kind, FrameKind::Shared(current) if current.ptr_eq(shared)))
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
pub(crate) fn check_write() -> Result<(), Refusal> {
    enum Of {
        Root,
        BlockOn(RunningTask),
        Inside,
    }
    let of = peek(|frame| match frame.kind {
        FrameKind::Root => Of::Root,
        FrameKind::BlockOn(task) => Of::BlockOn(task),
        FrameKind::Inside | FrameKind::Shared(_) => Of::Inside,
    });
    match of {
        Of::Inside => Ok(()),
        Of::BlockOn(task) if task.still_runs() => Ok(()),
        Of::Root if !RunningTask::now().is_known() => {
            ROOT.try_with(|_| ()).map_err(|_| Refusal::ThreadExit)
        }
        Of::Root | Of::BlockOn(_) => Err(Refusal::ForeignTask),
    }
}

/// Replaces the slot of a variable by what `f` makes of it, and returns `f`'s second result.
///
/// `f` gets the id of the context and the slot, settled, and must not call user code. Callers that bring
/// something new have asked [`check_write`].
pub(crate) fn update<R>(var: u64, local: bool, f: impl FnOnce(u64, Slot) -> (Slot, R)) -> R {
    let (result, garbage, published) = peek(|frame| {
        let Frame { context, kind } = frame;
        let id = context.ensure_id();
        let (slot, result) = f(id, context.settled_slot(var));
        let garbage = context.replace_slot(var, local, slot);
        let published: Option<Context> = match kind {
            FrameKind::Shared(shared) => Some(shared.publish(context)),
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
    peek(|frame| frame.context.id())
}

/// Makes `context` current until the guard goes; then `context` has what was set inside.
#[inline]
pub(crate) fn enter(context: &mut Context, kind: FrameKind) -> Entered<'_> {
    let mut frame = Frame {
        context: mem::take(context),
        kind,
    };
    swap(&mut frame);
    Entered {
        home: Some(context),
        other: frame,
        _not_send: PhantomData,
    }
}

/// Makes `frame` current until the guard goes, and lets go of it then.
#[inline]
pub(crate) fn enter_frame(mut frame: Frame) -> Entered<'static> {
    swap(&mut frame);
    Entered {
        home: None,
        other: frame,
        _not_send: PhantomData,
    }
}

/// For user code that is called outside of any context of its own.
pub(crate) fn enter_empty() -> Entered<'static> {
    enter_frame(Frame::inside(Context::new()))
}

/// Leaves the context when dropped. Not `Send`: it puts back this thread's frame.
pub(crate) struct Entered<'a> {
    home: Option<&'a mut Context>,
    /// The outer frame, and the inner one when that was left.
    other: Frame,
    _not_send: PhantomData<*const ()>,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        swap(&mut self.other);
        if let Some(home) = &mut self.home {
            // The home has been empty since `enter` took its content.
            mem::swap(*home, &mut self.other.context);
        }
        self.other.release();
    }
}

impl Frame {
    /// A frame for work that has `context` to itself.
    pub(crate) fn inside(context: Context) -> Frame {
        Frame {
            context,
            kind: FrameKind::Inside,
        }
    }

    /// Lets go of a frame that was left. The thread is back in the outer one, so values may be
    /// dropped here.
    #[inline]
    fn release(&mut self) {
        let kind = mem::replace(&mut self.kind, FrameKind::Root);
        if let FrameKind::Shared(shared) = &kind {
            shared.release();
        }
        drop_values(mem::take(&mut self.context));
        if let FrameKind::Shared(shared) = kind {
            shared.into_last().into_iter().for_each(drop_values);
        }
    }
}

/// Drops a context that a frame has brought, and the values that nobody else has.
///
/// Their destructors may write, but the outer frame may be that of a runtime's task, which refuses writes, or of
/// a callback queue, which would keep what they write. So they run in an empty context.
#[inline]
fn drop_values(context: Context) {
    if let Some(node) = context.into_last_node() {
        let _empty = enter_empty();
        in_destructor(|| drop(node));
    }
}

/// Makes `frame`, if any, current; [`leave_after_drop`] puts back what was. For the drop of a value
/// inside a context, where the two calls are made by the destructors of the fields before and after it.
pub(crate) fn enter_for_drop(frame: Option<Frame>) {
    FRAMES.with(|frames| frames.push(frame));
}

pub(crate) fn leave_after_drop() {
    if let Some(mut left) = FRAMES.with(Frames::pop) {
        left.release();
    }
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
