//! The thread's current context, and the one way to change which context that is.
//!
//! It is in a thread-local without a destructor, so that reading, entering and leaving work for as
//! long as the thread does, also while its thread-locals are destroyed. Only the root context, the
//! thread's own, is freed at thread exit, by [`RootGuard`].
//!
//! # Whose frame it is
//!
//! What runs on a thread need not be what has entered the innermost frame: a runtime that is run
//! there runs tasks of its own, which have entered nothing. They would read and write what is
//! somebody else's. So each frame says who may use it, and what runs is known by the runtimes' ids
//! of running tasks.
//!
//! ```text
//! frame            reads                          writes
//! root             by what runs in no task        the same
//! block_on         by what it was entered under   the same
//! call             by all                         by what it was entered under
//! poll, drop       by all                         by all
//! wait, run        it is empty                    by nobody
//! ```
//!
//! A call is `Context::run`, a scope, a bound function, a callback, a job, a thread, or the poll of
//! a future that has a context of its own: all that it runs is meant to see its values, and no
//! foreign task can have written them. A poll is that of a task of the shim, and asking there would
//! double the price of a `set`. A wait is one in which a worker runs jobs of others, and a run is
//! that of an executor by a `block_on`, whose future has a frame of its own inside.

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use crate::companion;
use crate::companion::captured::Companions;
use crate::contain::{contain, in_destructor};
use crate::context::Context;
use crate::error::SetErrorKind;
use crate::id::VarKey;
use crate::identity::{Captured, SharedCompanions};
use crate::node::{Garbage, Node};
use crate::raw::{Contexts, Lookup, Reading};
use crate::running_task::RunningTask;
use crate::shared::SharedContext;
use crate::slot::{Guard, Slot};
use crate::sync::thread_local;
use crate::value::{self, Value};
use crate::var::ContextVar;

/// How a context came to be current.
pub(crate) struct Kind {
    users: Users,
    origin: Origin,
}

/// What the context of a frame has beside it.
#[derive(Clone)]
enum Origin {
    Own,
    /// The shared context that writes are published to.
    Shared(SharedContext),
    /// The companions that were captured with the context. They are here while it is entered.
    Accompanied(SharedCompanions),
}

/// Who may use a frame. See the head of this file.
#[derive(Clone, Copy)]
pub(crate) enum Users {
    /// Nothing was entered.
    Root,
    /// A poll, or a drop.
    Poll,
    /// A `block_on`, entered while this task was running.
    BlockOn(RunningTask),
    /// A call, or the poll of a future, entered while this task was running.
    Call(RunningTask),
    /// A wait in which the thread may run whatever else there is to do.
    #[cfg_attr(
        not(feature = "rayon"),
        expect(dead_code, reason = "only rayon waits so")
    )]
    Wait,
    /// An executor that is run here, for a `block_on`.
    Run,
    /// Destructors whose values have set variables too often.
    Closed,
}

impl Users {
    /// Those of a synchronous call from here.
    #[inline]
    pub(crate) fn call() -> Users {
        Users::Call(RunningTask::now())
    }

    /// Those of a `block_on` from here.
    fn block_on() -> Users {
        Users::BlockOn(RunningTask::now())
    }

    /// In the frame of `self`, whether what runs now may read.
    #[inline]
    fn reading(self) -> Reading {
        let expected = match self {
            Users::Poll | Users::Call(_) | Users::Wait | Users::Run | Users::Closed => {
                return Reading::Free;
            }
            // There is no other task to be found.
            Users::Root | Users::BlockOn(_) if size_of::<RunningTask>() == 0 => {
                return Reading::Free;
            }
            Users::Root => RunningTask::NONE,
            Users::BlockOn(task) => task,
        };
        match expected == RunningTask::now() {
            true => Reading::Once,
            false => Reading::Nothing,
        }
    }

    /// In the frame of `self`, whether what runs now may write.
    fn writing(self) -> Result<(), SetErrorKind> {
        let expected = match self {
            Users::Poll => return Ok(()),
            Users::Wait => return Err(SetErrorKind::ForeignJob),
            Users::Run => return Err(SetErrorKind::ForeignTask),
            Users::Closed => return Err(SetErrorKind::Busy),
            Users::Root => RunningTask::NONE,
            Users::BlockOn(task) | Users::Call(task) => task,
        };
        let running = RunningTask::now();
        if running != expected {
            return Err(match running.is_job() {
                true => SetErrorKind::ForeignJob,
                false => SetErrorKind::ForeignTask,
            });
        }
        match self {
            // From now on the root context is freed when the thread exits.
            Users::Root => ROOT.try_with(|_| ()).map_err(|_| SetErrorKind::ThreadExit),
            _ => Ok(()),
        }
    }
}

impl Kind {
    /// That of a poll or a drop.
    pub(crate) const POLL: &Kind = &Kind::new(Users::Poll);

    #[inline]
    const fn new(users: Users) -> Kind {
        Kind {
            users,
            origin: Origin::Own,
        }
    }

    /// The shared context that writes are published to.
    #[inline]
    fn shared(&self) -> Option<&SharedContext> {
        match &self.origin {
            Origin::Shared(shared) => Some(shared),
            _ => None,
        }
    }

    /// That of a synchronous call from here.
    #[inline]
    pub(crate) fn call() -> Kind {
        Kind::new(Users::call())
    }

    /// That of a `block_on` from here.
    pub(crate) fn block_on() -> Kind {
        Kind::new(Users::block_on())
    }

    pub(crate) fn users(&self) -> Users {
        self.users
    }
}

const ROOT_KIND: &Kind = &Kind::new(Users::Root);

thread_local! {
    static CONTEXTS: Contexts<Context, Kind, Rc<Overriding>> =
        const { Contexts::new(Context::new(), ROOT_KIND) };
    static ROOT: RootGuard = const { RootGuard };
}

impl Lookup for Context {
    type Kept = Slot;

    fn stamp(&self) -> u64 {
        /// The stamp of a context without bindings.
        const EMPTY: u64 = crate::id::RESERVED;
        self.bindings().map_or(EMPTY, |bindings| bindings.stamp())
    }

    fn keep(&self, var: VarKey) -> Option<Slot> {
        self.bindings()?.slot(var).cloned()
    }

    fn find<T: Send + Sync + 'static>(&self, var: VarKey) -> (Option<&T>, bool) {
        let slot = self.bindings().and_then(|bindings| bindings.slot(var));
        let value = slot.and_then(|slot| slot.visible(self.id()));
        // The end of a guard shows through its layers, without new bindings.
        let is_lasting = slot.is_none_or(|slot| !slot.has_layers());
        (
            value.and_then(|value| value::downcast(&**value)),
            is_lasting,
        )
    }
}

#[inline]
fn contexts() -> &'static Contexts<Context, Kind, Rc<Overriding>> {
    Contexts::here(&CONTEXTS)
}

/// Runs `f`, which must neither call user code nor allocate, on the current context. `None` if that
/// is busy.
#[inline]
fn glance<R>(f: impl FnOnce(&Context, &Kind) -> R) -> Option<R> {
    contexts().glance(f)
}

/// Frees the thread's own context when the thread exits.
struct RootGuard;

impl Drop for RootGuard {
    fn drop(&mut self) {
        // In a frame (the process exits inside one) the root context is out of reach, and the
        // process is about to free everything anyway.
        let garbage = contexts().change(|context, kind| match kind.users {
            Users::Root => mem::take(context),
            _ => Context::new(),
        });
        // A panic here would end the process.
        contain(|| drop(garbage));
        companion::thread_exits();
    }
}

/// Calls `f` on the current value of a variable, where it is.
#[inline]
pub(crate) fn read<T, D, R>(var: &ContextVar<T, D>, f: impl FnOnce(Option<&T>) -> R) -> R
where
    T: Send + Sync + 'static,
{
    contexts().read(var.known_key(), || var.key(), reading, f)
}

/// How the current frame may be read now. Within a change of the frame, not at all.
fn reading() -> Reading {
    let users = glance(|_, kind| kind.users);
    users.map_or(Reading::Nothing, Users::reading)
}

/// A copy of the current context as `quick` makes it, if it can without allocating, or else
/// `thorough`. Neither calls user code. An empty one where what runs may not read.
#[inline]
fn copy_by(
    quick: impl FnOnce(&Context) -> Option<Context>,
    thorough: impl FnOnce(&Context) -> Context,
) -> Context {
    let copy = glance(|context, kind| match kind.users {
        Users::Root | Users::BlockOn(_) => None,
        _ => quick(context),
    });
    match copy {
        Some(Some(copy)) => copy,
        _ => copy_if_allowed(thorough),
    }
}

#[cold]
fn copy_if_allowed(thorough: impl FnOnce(&Context) -> Context) -> Context {
    let copy = match reading() {
        Reading::Nothing => None,
        Reading::Once | Reading::Free => contexts().peek(|context, _| thorough(context)),
    };
    copy.unwrap_or_default()
}

/// A copy of the current context.
#[inline]
pub(crate) fn copy() -> Context {
    copy_by(Context::quick_copy, Context::values_only)
}

/// A copy of the current context for a new unit of work: without `local` variables.
#[inline(always)]
pub(crate) fn inherit() -> Context {
    if companion::any() {
        return inherit_accompanied();
    }
    copy_by(Context::quick_inherit, Context::inherit)
}

/// The same with what companions have current.
#[inline(never)]
fn inherit_accompanied() -> Context {
    let context = copy_by(Context::quick_inherit, Context::inherit);
    context.accompanied(capture_companions())
}

/// What is current on this thread, beside the current context.
#[inline(never)]
fn capture_companions() -> Captured {
    let before = glance(|_, kind| match &kind.origin {
        Origin::Accompanied(companions) => Some(companions.clone()),
        _ => None,
    });
    match before {
        Some(before) => companion::capture(before.as_ref()),
        // Busy: an allocator or a signal handler, which calls no code of others.
        None => Captured::No,
    }
}

/// Whether `shared` is the context of the innermost frame.
pub(crate) fn is_innermost(shared: &SharedContext) -> bool {
    let is_same = |current: &SharedContext| current.ptr_eq(shared);
    glance(|_, kind| kind.shared().is_some_and(is_same)).unwrap_or_default()
}

/// Whether a write would stay within the work that makes it.
#[inline]
pub(crate) fn check_write() -> Result<(), SetErrorKind> {
    match glance(|_, kind| kind.users) {
        Some(Users::Poll) => Ok(()),
        // Asking runs code of runtimes, so not in `peek`.
        Some(users) => users.writing(),
        None => Err(SetErrorKind::Busy),
    }
}

/// The id of the current context, if it was ever written and may be written now.
pub(crate) fn writable_id() -> Option<u64> {
    check_write().ok()?;
    glance(|context, _| context.id()).filter(|&id| id != 0)
}

/// Replaces the value of a variable. Returns the id of the context and the slot as it was. The
/// caller has asked [`check_write`].
#[inline]
pub(crate) fn replace(var: VarKey, value: Option<Value>) -> (u64, Slot) {
    let mut value = value;
    // Most variables have a value and no guards, and most contexts need not be published.
    let swapped = contexts().change(|context, kind| match kind.shared() {
        Some(_) => None,
        None if value.is_none() => None,
        None => Some((context.swap_value(var, &mut value)?, context.id())),
    });
    if let Some(Some(((old, shared_by_others), context))) = swapped {
        drop(shared_by_others);
        return (context, Slot::plain(Some(old)));
    }
    change(|context| {
        let id = context.ensure_id();
        let (old, garbage) = context.replace(var, value);
        ((id, old), garbage)
    })
}

/// Makes a guard for a variable, whose value is `value` under it. Returns it with the id of the
/// context. The caller has asked [`check_write`].
#[inline]
pub(crate) fn push(var: VarKey, value: Value) -> (u64, Arc<Guard>) {
    let mut value = Some(value);
    let pushed = contexts().change(|context, kind| match kind.shared() {
        Some(_) => None,
        None => Some((context.id(), context.push_in_place(var, &mut value)?)),
    });
    match (pushed.flatten(), value) {
        (Some(pushed), _) => pushed,
        (None, Some(value)) => change(|context| {
            let id = context.ensure_id();
            let (guard, garbage) = context.push(var, value);
            ((id, guard), garbage)
        }),
        (None, None) => unreachable!("nobody has taken the value"),
    }
}

/// Takes out the layer of a guard that has ended, if `context` is the id of the current context and
/// that may be written.
#[inline]
pub(crate) fn pop(var: VarKey, context: u64, guard: &Arc<Guard>) {
    if writable_id() != Some(context) {
        return;
    }
    let popped = contexts().change(|context, kind| match kind.shared() {
        Some(_) => None,
        None => context.pop_in_place(var, guard),
    });
    match popped.flatten() {
        Some(value) => drop(value),
        None => change(|context| ((), context.pop(var))),
    }
}

/// Replaces the values of several variables at once. The caller has asked [`check_write`].
pub(crate) fn replace_all(values: &Context) {
    // Made here: nothing is allocated while the context changes, but by the context.
    let mut kept = Vec::with_capacity(values.len());
    change(|context| {
        context.ensure_id();
        for (var, value) in values.values().filter(|(var, _)| !var.is_local()) {
            kept.push(context.replace(var, Some(value.clone())));
        }
        (mem::take(&mut kept), Garbage::default())
    });
}

/// Changes the current context, and drops what that takes out. The caller has asked
/// [`check_write`].
#[inline]
fn change<R>(f: impl FnOnce(&mut Context) -> (R, Garbage)) -> R {
    let changed = contexts().change(|context, kind| {
        let (result, garbage) = f(context);
        let shared = kind.shared();
        let published = shared.map(|shared| shared.publish(context));
        (result, garbage, published)
    });
    let Some((result, garbage, published)) = changed else {
        unreachable!("a frame that was not busy when that was asked is not since");
    };
    drop(published);
    drop(garbage);
    result
}

/// The address of the current context, which tells it from those around it.
pub(crate) fn frame() -> NonNull<Context> {
    contexts().current()
}

/// How a frame is entered: who may use it, and the scope that it has for what the shim keeps beside
/// the context. The core only passes the scope on.
#[derive(Clone, Copy)]
pub(crate) struct Entering<'a> {
    pub(crate) kind: &'a Kind,
    /// Without one, the frame shares that of the frame around it.
    pub(crate) scope: Option<&'a dyn Any>,
    /// Whether it is for a drop: the companions' panics stay here then, and what is called inside
    /// is called all the same.
    pub(crate) is_drop: bool,
}

impl Entering<'_> {
    /// The same for a drop.
    #[inline]
    pub(crate) fn to_drop(self) -> Self {
        Entering {
            is_drop: true,
            ..self
        }
    }
}

impl<'a> From<&'a Kind> for Entering<'a> {
    #[inline]
    fn from(kind: &'a Kind) -> Entering<'a> {
        Entering {
            kind,
            scope: None,
            is_drop: false,
        }
    }
}

/// What overrides the scope of a frame for a while.
pub(crate) struct Overriding {
    scope: Box<dyn Any>,
    /// The task that has it do so. Others that run in the same frame are not sent there.
    task: RunningTask,
    is_live: Cell<bool>,
    /// What did so before in this frame.
    below: OnceCell<Rc<Overriding>>,
}

/// Overrides the current scope until it is dropped, or its frame is left. Those of one frame may be
/// dropped in any order: the last one that is left counts.
pub(crate) struct ScopeOverride {
    frame: usize,
    overriding: Rc<Overriding>,
}

impl ScopeOverride {
    pub(crate) fn new(scope: Box<dyn Any>) -> ScopeOverride {
        let overriding = Rc::new(Overriding {
            scope,
            task: RunningTask::now(),
            is_live: Cell::new(true),
            below: OnceCell::new(),
        });
        let (frame, before) = contexts()
            .frames()
            .override_scope(None, Some(Rc::clone(&overriding)));
        if let Some(before) = before {
            let _is_new = overriding.below.set(before);
        }
        ScopeOverride { frame, overriding }
    }
}

impl Drop for ScopeOverride {
    fn drop(&mut self) {
        self.overriding.is_live.set(false);
        // If the frame is gone, another may have its number by now. Then nothing changes there.
        let frames = contexts().frames();
        let (_, mut top) = frames.override_scope(Some(self.frame), None);
        // Scopes are user code when they are dropped: not before the frame has another.
        let mut ended = Vec::new();
        while let Some(dead) = top.take_if(|top| !top.is_live.get()) {
            top = dead.below.get().cloned();
            ended.push(dead);
        }
        frames.override_scope(Some(self.frame), top);
    }
}

/// Calls `f`, which must neither call user code nor override a scope, on the current scope.
#[inline]
pub(crate) fn scope<R>(f: impl FnOnce(Option<&dyn Any>) -> R) -> R {
    contexts()
        .frames()
        .scope(|current| match current.overriding {
            // Entered by another task, which runs on this thread too.
            Some(overriding) if overriding.task != RunningTask::now() => f(current.scope),
            Some(overriding) => f(Some(&*overriding.scope)),
            None => f(current.scope),
        })
}

/// A number that tells the frame that has the current scope from those around it. `None` while it
/// is overridden.
#[inline]
pub(crate) fn scope_frame() -> Option<usize> {
    contexts()
        .frames()
        .scope(|current| match current.overriding {
            Some(overriding) if overriding.task == RunningTask::now() => None,
            _ => Some(current.frame),
        })
}

/// Calls `f` while `context` is current; then `context` has what was set inside.
#[inline]
pub(crate) fn enter<'a, R>(
    context: &mut Context,
    entering: impl Into<Entering<'a>>,
    f: impl FnOnce() -> R,
) -> R {
    let Entering {
        kind,
        scope,
        is_drop,
    } = entering.into();
    if context.identity().is_marked() {
        return enter_accompanied(context, kind, scope, is_drop, f);
    }
    contexts().enter(context, kind, scope, f)
}

/// The same with the companions that were captured with the context, inside the frame.
#[cold]
#[inline(never)]
fn enter_accompanied<R>(
    context: &mut Context,
    kind: &Kind,
    scope: Option<&dyn Any>,
    is_drop: bool,
    f: impl FnOnce() -> R,
) -> R {
    let (mut f, mut result) = (Some(f), None);
    let entering = Entering {
        kind,
        scope,
        is_drop,
    };
    enter_with_companions(context, entering, &mut || {
        if let Some(f) = f.take() {
            result = Some(f());
        }
    });
    match result {
        Some(result) => result,
        None => unreachable!("`Companion::enter` returns what its closure returns"),
    }
}

fn enter_with_companions(context: &mut Context, entering: Entering<'_>, f: &mut dyn FnMut()) {
    /// Puts the companions back into the context when it has been left.
    struct Entered<'a> {
        context: &'a mut Context,
        kind: Kind,
    }
    impl Drop for Entered<'_> {
        fn drop(&mut self) {
            if let Origin::Accompanied(companions) =
                mem::replace(&mut self.kind.origin, Origin::Own)
            {
                self.context.identity_mut().put_back(companions);
            }
        }
    }
    let Entering {
        kind,
        scope,
        is_drop,
    } = entering;
    if !companion::may_call() {
        return contexts().enter(context, kind, scope, f);
    }
    let Some(companions) = context.identity_mut().take_companions() else {
        return contexts().enter(context, kind, scope, || call_accompanied(None, is_drop, f));
    };
    let entered = Entered {
        context,
        kind: Kind {
            users: kind.users,
            origin: Origin::Accompanied(companions),
        },
    };
    let companions = match &entered.kind.origin {
        Origin::Accompanied(companions) => Some(companions.get()),
        _ => None,
    };
    contexts().enter(entered.context, &entered.kind, scope, || {
        call_accompanied(companions, is_drop, f);
    });
}

/// Calls `f` while these companions are current, and nothing of the others is.
fn call_accompanied(companions: Option<&Companions>, is_drop: bool, f: &mut dyn FnMut()) {
    if !is_drop {
        return companion::enter(companions, f);
    }
    // The companions' panics stay here, and those of `f` go on.
    let mut outcome = None;
    contain(|| {
        companion::enter(companions, &mut || {
            outcome = Some(panic::catch_unwind(AssertUnwindSafe(&mut *f)));
        });
    });
    match outcome {
        None => f(),
        Some(Ok(())) => {}
        Some(Err(payload)) => panic::resume_unwind(payload),
    }
}

/// Calls `f` in a frame of its own for the same context, which is that of a synchronous call.
pub(crate) fn enter_call<R>(f: impl FnOnce() -> R) -> R {
    enter_again_as(Users::call(), None, f)
}

/// Calls `f` in a frame of its own for the same context, with these users and this scope.
pub(crate) fn enter_again_as<R>(users: Users, scope: Option<&dyn Any>, f: impl FnOnce() -> R) -> R {
    let origin = glance(|_, kind| kind.origin.clone()).unwrap_or(Origin::Own);
    contexts().enter_again(&Kind { users, origin }, scope, f)
}

/// Calls `f` in a frame of its own for the same context, with this scope.
pub(crate) fn enter_again<R>(scope: &dyn Any, f: impl FnOnce() -> R) -> R {
    match glance(|_, kind| kind.users) {
        Some(users) => enter_again_as(users, Some(scope), f),
        // Busy: a signal handler.
        None => f(),
    }
}

/// Calls `f` in an empty context, for user code that is called outside of any context of its own.
pub(crate) fn enter_empty<R>(f: impl FnOnce() -> R) -> R {
    let frame = Frame::new(Context::new().apart(), Users::call());
    frame.enter_scope(None, true, f)
}

/// Calls `f` in an empty context that cannot be written to, and in this scope, for waits in which a
/// thread may run work of others.
#[cfg(feature = "rayon")]
pub(crate) fn enter_wait<R>(scope: &dyn Any, f: impl FnOnce() -> R) -> R {
    let frame = Frame::new(Context::new().apart(), Users::Wait);
    frame.enter_scope(Some(scope), false, f)
}

/// Calls `f`, which runs an executor here, in an empty context that cannot be written to: the tasks
/// that others have given to the executor may run in it. The scope is that around.
///
/// Not if the current context is a shared one: what is run may have to enter that again, and finds it
/// entered by this thread, which is right as long as it is the innermost.
pub(crate) fn enter_run<R>(f: impl FnOnce() -> R) -> R {
    let is_shared = glance(|_, kind| kind.shared().is_some());
    match is_shared {
        Some(false) => Frame::new(Context::new(), Users::Run).enter(f),
        Some(true) | None => f(),
    }
}

/// A context to be entered once, and released then.
pub(crate) struct Frame {
    context: Context,
    /// A shared context was marked as entered, and is released with the frame.
    kind: Kind,
}

impl Frame {
    /// For work that has `context` to itself.
    #[inline]
    pub(crate) fn new(context: Context, users: Users) -> Frame {
        Frame {
            context,
            kind: Kind::new(users),
        }
    }

    /// For work in `shared`, which has been marked as entered, and has the bindings of `context`.
    pub(crate) fn shared(shared: SharedContext, context: Context, users: Users) -> Frame {
        Frame {
            context,
            kind: Kind {
                users,
                origin: Origin::Shared(shared),
            },
        }
    }

    /// The same, in which nothing is current that was not captured.
    pub(crate) fn apart(mut self) -> Frame {
        self.context = mem::take(&mut self.context).apart();
        self
    }

    /// Calls `f` in it.
    #[inline]
    pub(crate) fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        self.enter_scope(None, false, f)
    }

    /// Calls `f` in it, with this scope.
    #[inline]
    pub(crate) fn enter_scope<R>(
        mut self,
        scope: Option<&dyn Any>,
        is_drop: bool,
        f: impl FnOnce() -> R,
    ) -> R {
        let entering = Entering {
            kind: &self.kind,
            scope,
            is_drop,
        };
        enter(&mut self.context, entering, f)
    }

    /// Calls `f` in the frame, in this way. Without a frame, in one of its own for the current
    /// context, which is that of these users: whoever entered that is not who runs now.
    #[inline]
    pub(crate) fn enter_any<R>(
        frame: Option<Frame>,
        Entering {
            kind,
            scope,
            is_drop,
        }: Entering<'_>,
        f: impl FnOnce() -> R,
    ) -> R {
        match frame {
            Some(frame) => frame.enter_scope(scope, is_drop, f),
            None => enter_again_as(kind.users, scope, f),
        }
    }
}

impl Drop for Frame {
    /// The thread is in the outer frame, if this one was entered, so values may be dropped here.
    #[inline]
    fn drop(&mut self) {
        let origin = mem::replace(&mut self.kind.origin, Origin::Own);
        if let Origin::Shared(shared) = &origin {
            shared.release();
        }
        drop_values(mem::take(&mut self.context));
        if let Origin::Shared(shared) = origin {
            shared.into_last().into_iter().for_each(drop_values);
        }
    }
}

/// Drops the context of work that has ended, and the values that nobody else has.
///
/// Their destructors may write, but the outer frame may be that of a runtime's task, which refuses
/// writes, or of a callback queue, which would keep what they write. So they run in an empty
/// context.
#[inline]
pub(crate) fn drop_values(context: Context) {
    if let Some(node) = context.into_last_node() {
        drop_last(node);
    }
}

/// How often values are dropped that destructors of the ones before have set.
const ROUNDS: u32 = 16;

#[cold]
fn drop_last(node: Node) {
    let mut next = Some(node);
    let mut round = 0;
    while let Some(node) = next.take() {
        // A destructor that sets a variable each time, as an allocator might that counts, would go
        // on without end.
        let users = if round < ROUNDS {
            Users::call()
        } else {
            Users::Closed
        };
        let mut frame = Frame::new(Context::new().apart(), users);
        let entering = Entering {
            kind: &frame.kind,
            scope: None,
            is_drop: true,
        };
        enter(&mut frame.context, entering, || {
            in_destructor(|| drop(node));
        });
        next = mem::take(&mut frame.context).into_last_node();
        round += 1;
    }
}
