//! What safe Rust cannot say: pointers to what calls on the machine stack keep alive, and drops in
//! a given place. The only unsafe code of the crate.
//!
//! - [`Stack`]: values that calls on this thread have pushed.
//! - [`Frames`]: which `T` is current on this thread, without moving it there and back.
//! - [`Contexts`]: reading a value of the current context where it is, without a reference count,
//!   and a cache of where the values are.
//! - [`Inside`]: a value that is dropped inside of something; [`DisposedOf`]: one that somebody
//!   else drops.
//! - [`NumberOrShared`]: a number or a shared value, in the space of the number.
//!
//! The invariants that hold for all of them:
//! - The first three are entered by calling a closure, so that they are left in reverse order, also
//!   by a panic. (As for the scoped thread-locals of other crates, code that suspends its machine
//!   stack may not do so in the middle.)
//! - A `&mut` into a frame exists only as long as its [`Busy`] does, and whoever finds the frame
//!   busy does not touch it.
//!
//! # Allocators and signal handlers
//!
//! An allocator is called at function calls, a signal handler between any two instructions. Both
//! may read variables; an allocator may also write. A handler leaves all that it finds as it was,
//! with two exceptions: it may store the stamp of the innermost frame as the current one, and it
//! may replace entries of the cache. So:
//! - What a handler reads or changes is in [`VolatileCell`]s. The compiler accesses them once each,
//!   in the order in which they are written here, and takes no value for known. (Only what every
//!   handler puts back is read as ordinary memory is.)
//! - A pointer is stored after what it points to, and that is reused after the pointer is gone.
//!   [`PutBack`] has the compiler fences. On one thread nothing else is needed.
//! - What consists of several cells is checked again after it was read ([`Contexts::cached`]), or
//!   stored over after a handler could have changed it ([`Contexts::enter`]).

#![allow(unsafe_code, reason = "see above")]

use std::any::Any;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::ops::Deref;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::atomic::{Ordering, compiler_fence};

use crate::catch::in_destructor;
use crate::id::VarKey;
use crate::sync::LocalKey;

/// What a thread-local without a destructor holds. Unlike in a call of [`LocalKey::with`], what is
/// done with it can be inlined where it is done.
///
/// # Safety
///
/// `L` is not `Sync`, so that the reference cannot leave the thread.
#[inline]
unsafe fn here<L>(key: &'static LocalKey<L>) -> &'static L {
    const { assert!(!mem::needs_drop::<L>()) };
    let pointer = key.with(ptr::from_ref);
    // SAFETY: as it has no destructor, it is there for as long as code of the thread runs, and is
    // never written again as a whole; and the reference stays on the thread, as the caller
    // promises.
    unsafe { &*pointer }
}

/// The same for a cell.
#[inline]
pub(crate) fn cell_here<T>(
    key: &'static LocalKey<RefCell<ManuallyDrop<T>>>,
) -> &'static RefCell<ManuallyDrop<T>> {
    // SAFETY: a `RefCell` is not `Sync`.
    unsafe { here(key) }
}

/// A word that a signal handler on this thread may read or change between any two instructions.
/// Each access takes place once, and in order with those of other such cells.
struct VolatileCell<T: Copy>(UnsafeCell<T>);

impl<T: Copy> VolatileCell<T> {
    const fn new(value: T) -> VolatileCell<T> {
        VolatileCell(UnsafeCell::new(value))
    }

    #[inline]
    fn get(&self) -> T {
        // SAFETY: the pointer is that of a valid `T`. Nobody else accesses it meanwhile: the cell
        // is not `Sync`, it gives out no references, and a handler does not interrupt the access of
        // a word.
        unsafe { self.0.get().read_volatile() }
    }

    /// The same for a cell that every handler puts back: it does not matter when it is read.
    #[inline]
    fn get_put_back(&self) -> T {
        // SAFETY: as in `get`.
        unsafe { self.0.get().read() }
    }

    #[inline]
    fn set(&self, value: T) {
        // SAFETY: as in `get`.
        unsafe { self.0.get().write_volatile(value) }
    }
}

/// Puts the former value of a cell back when dropped.
struct PutBack<'a, T: Copy> {
    cell: &'a VolatileCell<T>,
    before: T,
}

impl<'a, T: Copy> PutBack<'a, T> {
    /// Sets the cell to `value` until this is dropped. What was stored before is there by then.
    #[inline]
    fn new(cell: &'a VolatileCell<T>, value: T) -> PutBack<'a, T> {
        PutBack::of(cell, cell.get(), value)
    }

    /// The same for a cell in which `before` was found.
    #[inline]
    fn of(cell: &'a VolatileCell<T>, before: T, value: T) -> PutBack<'a, T> {
        compiler_fence(Ordering::Release);
        cell.set(value);
        PutBack { cell, before }
    }
}

impl<T: Copy> Drop for PutBack<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.cell.set(self.before);
    }
}

/// Values that calls on this thread have pushed, each for the time of its call. Nothing is
/// allocated.
pub(crate) struct Stack<T: 'static> {
    /// Null if there is none.
    innermost: VolatileCell<*const Pushed<T>>,
}

struct Pushed<T> {
    value: T,
    outer: *const Pushed<T>,
}

impl<T: Copy + 'static> Stack<T> {
    pub(crate) const fn new() -> Stack<T> {
        Stack {
            innermost: VolatileCell::new(ptr::null()),
        }
    }

    /// That of this thread.
    pub(crate) fn here(key: &'static LocalKey<Stack<T>>) -> &'static Stack<T> {
        // SAFETY: `Stack` has a cell, so it is not `Sync`.
        unsafe { here(key) }
    }

    /// Calls `f` while `value` is on the stack.
    pub(crate) fn push<R>(&self, value: T, f: impl FnOnce() -> R) -> R {
        let outer = self.innermost.get();
        let pushed = Pushed { value, outer };
        // Dropped before `pushed`.
        let _pop = PutBack::of(&self.innermost, outer, &pushed);
        f()
    }

    /// How many of the values are such ones. `is_such` must not call user code.
    pub(crate) fn count(&self, is_such: impl Fn(T) -> bool) -> usize {
        let (mut count, mut next) = (0, self.innermost.get());
        // SAFETY: if it is not null, it is on the machine stack of a `push` that has not returned.
        // That stays so: a handler that comes in between pops what it pushes.
        while let Some(pushed) = unsafe { next.as_ref() } {
            count += usize::from(is_such(pushed.value));
            next = pushed.outer;
        }
        count
    }
}

/// A stack of frames in a thread-local that has no destructor. The frames belong to the calls of
/// [`enter`](Frames::enter); only the root is here.
///
/// A frame has a value and a kind. It may have a scope, which the frames within it share up to the
/// next one that has one of its own, and which may be overridden for a while.
pub(crate) struct Frames<T, K: 'static, O: 'static> {
    /// Null if it is the root.
    innermost: VolatileCell<*const Link<T, K, O>>,
    root: UnsafeCell<ManuallyDrop<T>>,
    root_kind: &'static K,
    root_override: ManuallyDrop<Cell<Option<O>>>,
    /// The value of the innermost frame that is [`Busy`], null if there is none. There can be
    /// several if other frames are entered in between.
    busy: VolatileCell<*const T>,
}

/// The current scope.
pub(crate) struct Scope<'a, O> {
    /// A number that tells its frame from those around it. 0 for the root.
    pub(crate) frame: usize,
    pub(crate) scope: Option<&'a dyn Any>,
    pub(crate) overriding: Option<&'a O>,
}

struct Link<T, K, O> {
    value: NonNull<T>,
    kind: NonNull<K>,
    scope: Option<NonNull<dyn Any>>,
    /// Counts in place of the scope, if there is one. Not for signal handlers.
    overriding: Cell<Option<O>>,
    outer: *const Link<T, K, O>,
}

impl<T: 'static, K: 'static, O: 'static> Frames<T, K, O> {
    pub(crate) const fn new(value: T, kind: &'static K) -> Frames<T, K, O> {
        Frames {
            innermost: VolatileCell::new(ptr::null()),
            root: UnsafeCell::new(ManuallyDrop::new(value)),
            root_kind: kind,
            root_override: ManuallyDrop::new(Cell::new(None)),
            busy: VolatileCell::new(ptr::null()),
        }
    }

    /// Calls `f` while `value` is the innermost frame.
    #[inline]
    pub(crate) fn enter<R>(
        &self,
        value: &mut T,
        kind: &K,
        scope: Option<&dyn Any>,
        f: impl FnOnce() -> R,
    ) -> R {
        self.enter_link(NonNull::from(value), kind, scope, f)
    }

    /// Calls `f` while the innermost frame has this kind.
    pub(crate) fn enter_again<R>(
        &self,
        kind: &K,
        scope: Option<&dyn Any>,
        f: impl FnOnce() -> R,
    ) -> R {
        self.enter_link(self.innermost().0, kind, scope, f)
    }

    #[inline]
    fn enter_link<R>(
        &self,
        value: NonNull<T>,
        kind: &K,
        scope: Option<&dyn Any>,
        f: impl FnOnce() -> R,
    ) -> R {
        let outer = self.innermost.get();
        let link = Link {
            value,
            kind: NonNull::from(kind),
            scope: scope.map(NonNull::from),
            overriding: Cell::new(None),
            outer,
        };
        // Dropped before `link`.
        let _leave = PutBack::of(&self.innermost, outer, &link);
        f()
    }

    /// Calls `f`, which must neither call user code nor override a scope, on the current scope:
    /// that of the innermost frame that has one, or what overrides it.
    #[inline]
    pub(crate) fn scope<R>(&self, f: impl FnOnce(Scope<'_, O>) -> R) -> R {
        let link = self.scope_link();
        let overriding = match link {
            Some(link) => &link.overriding,
            None => &*self.root_override,
        };
        f(Scope {
            frame: link.map_or(0, |link| ptr::from_ref(link).addr()),
            // SAFETY: `enter` has borrowed it and not returned.
            scope: link
                .and_then(|link| link.scope)
                .map(|scope| unsafe { &*scope.as_ptr() }),
            // SAFETY: nobody replaces it before `f` returns, which is told not to.
            overriding: unsafe { &*overriding.as_ptr() }.as_ref(),
        })
    }

    /// The innermost link that has a scope. It must not be kept while other code runs.
    #[inline]
    fn scope_link(&self) -> Option<&Link<T, K, O>> {
        // SAFETY: as in `innermost`; and the links around a link are further out on the machine
        // stack.
        let mut next = unsafe { self.innermost.get().as_ref() };
        while let Some(link) = next {
            // SAFETY: nobody replaces it meanwhile.
            if link.scope.is_some() || unsafe { &*link.overriding.as_ptr() }.is_some() {
                break;
            }
            // SAFETY: as above.
            next = unsafe { link.outer.as_ref() };
        }
        next
    }

    /// Has `overriding` count in place of the current scope, or of that of the frame with this
    /// number, if that is there. Returns the frame's number and what did so before.
    pub(crate) fn override_scope(
        &self,
        frame: Option<usize>,
        overriding: Option<O>,
    ) -> (usize, Option<O>) {
        // SAFETY: as in `innermost`.
        let mut link = unsafe { self.innermost.get().as_ref() };
        let number =
            |link: Option<&Link<T, K, O>>| link.map_or(0, |link| ptr::from_ref(link).addr());
        while let (Some(frame), Some(inner)) = (frame, link) {
            if number(link) == frame {
                break;
            }
            // SAFETY: as in `scope_link`.
            link = unsafe { inner.outer.as_ref() };
        }
        match link {
            Some(link) => (number(Some(link)), link.overriding.replace(overriding)),
            None if frame.is_some_and(|frame| frame != 0) => (0, overriding),
            None => (0, self.root_override.replace(overriding)),
        }
    }

    /// The innermost frame.
    #[inline]
    fn innermost(&self) -> (NonNull<T>, NonNull<K>) {
        // SAFETY: if it is not null, `enter_link` has set it and not returned, so that the link is
        // alive. That stays so: a handler that comes in between leaves what it enters.
        match unsafe { self.innermost.get().as_ref() } {
            Some(link) => (link.value, link.kind),
            // `ManuallyDrop` has the layout of what it holds.
            None => (
                NonNull::from(&self.root).cast(),
                NonNull::from(self.root_kind),
            ),
        }
    }

    /// Makes the innermost frame busy. `None` if it is already: in an allocator or a signal
    /// handler. No user code may be called meanwhile.
    #[inline]
    fn make_busy(&self) -> Option<Busy<'_, T, K>> {
        let (value, kind) = self.innermost();
        if self.busy.get_put_back() == value.as_ptr() {
            return None;
        }
        let put_back = PutBack::new(&self.busy, value.as_ptr().cast_const());
        compiler_fence(Ordering::SeqCst);
        Some(Busy {
            value,
            kind,
            _put_back: put_back,
        })
    }

    /// Calls `f`, which must not call user code, on the innermost frame. `None` if the frame is
    /// busy. `f` may allocate: an allocator does not change the frame meanwhile.
    #[inline]
    pub(crate) fn peek<R>(&self, f: impl FnOnce(&T, &K) -> R) -> Option<R> {
        let busy = self.make_busy()?;
        let (value, kind) = busy.parts();
        Some(f(value, kind))
    }

    /// The same for an `f` that does not even allocate.
    #[inline]
    pub(crate) fn glance<R>(&self, f: impl FnOnce(&T, &K) -> R) -> Option<R> {
        let (value, kind) = self.innermost();
        if self.busy.get_put_back() == value.as_ptr() {
            return None;
        }
        // SAFETY: both are alive as in `Busy::parts_mut`. There is no `&mut` to the value: who has
        // one has made the frame busy, and none is made before `f` returns, because `f` calls
        // nobody who could, and a signal handler that comes in between changes no frame but its
        // own.
        let (value, kind) = unsafe { (value.as_ref(), kind.as_ref()) };
        Some(f(value, kind))
    }
}

/// The innermost frame, which is busy as long as this is there: whoever comes in between does not
/// touch it.
struct Busy<'a, T, K> {
    value: NonNull<T>,
    kind: NonNull<K>,
    _put_back: PutBack<'a, *const T>,
}

impl<T, K> Busy<'_, T, K> {
    /// To change the frame. Not for signal handlers, except in a frame that they have entered.
    #[inline]
    fn parts_mut(&mut self) -> (&mut T, &K) {
        // SAFETY: both are alive as long as the frame is busy: the root as long as the thread runs
        // code, the others because `enter` has borrowed them and not returned. There is no other
        // reference to the value: `enter` has it mutably and does not use it while it calls its
        // closure; another `Busy` around this has made it busy, and a `glance` calls nobody who
        // changes it. Those that come in between, in an allocator or a handler, find it busy. (It
        // may be another's for a while, but only within a call that enters another frame, and then
        // this value is not the innermost.) `kind` is only ever shared.
        unsafe { (self.value.as_mut(), self.kind.as_ref()) }
    }

    #[inline]
    fn parts(&self) -> (&T, &K) {
        // SAFETY: both are alive as above. There is no `&mut` to the value: that of a `Busy` around
        // this has made it busy, and none is made as long as this is there. There may be other
        // shared references, of a `glance` that a signal handler has interrupted.
        unsafe { (self.value.as_ref(), self.kind.as_ref()) }
    }
}

impl<T, K> Drop for Busy<'_, T, K> {
    #[inline]
    fn drop(&mut self) {
        // Before `busy` is put back.
        compiler_fence(Ordering::SeqCst);
    }
}

/// What a frame has: bindings of variables to values. What the code below does rests on these
/// promises.
pub(crate) trait Lookup {
    /// Keeps a value where it is when the bindings are gone.
    type Kept;

    /// A number that no other bindings have or ever had, but for those of a copy. Not 0. All
    /// changes of the bindings change it.
    fn stamp(&self) -> u64;

    /// What keeps the value of `var` alive, and where it is.
    fn keep(&self, var: VarKey) -> Option<Self::Kept>;

    /// The value of `var`, and whether it is the same in all bindings with this stamp. Each `var`
    /// has one `T`.
    fn find<T: Send + Sync + 'static>(&self, var: VarKey) -> (Option<&T>, bool);
}

/// How the current frame may be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reading {
    /// By all that runs in it.
    Free,
    /// By what runs now, which is to be found out again for the next time.
    Once,
    /// Not by what runs now: for that it has no values.
    Nothing,
}

/// The contexts that are entered on this thread, and reading the current one, which is the
/// innermost.
///
/// A stamp names one set of bindings, and is never used again. So an entry of the cache that names
/// a variable and the stamp of the current bindings is right, whatever was current in between, and
/// the value is alive, because the current context has its bindings. While one is read, user code
/// runs, which may do anything, but:
/// - Contexts that are not current stay as they are: the code that entered the next one has not
///   returned. (One that was entered again has two frames, and is not current in neither.)
/// - All changes to the current one go through [`change`](Contexts::change). Before it releases
///   what somebody reads, it gives that to the reader: the slot, whose values are behind reference
///   counts of their own, where they stay.
/// - Whenever another context becomes current, or its bindings change, the current stamp becomes
///   another.
/// - A variable has one type (`ContextVar<T>` is invariant), and a key that no other has.
pub(crate) struct Contexts<T: Lookup + 'static, K: 'static, O: 'static> {
    frames: Frames<T, K, O>,
    /// The stamp of the current bindings, or [`UNKNOWN`].
    ///
    /// Only while a context is being entered or left, the innermost frame may be one and the stamp
    /// that of another: a signal handler then reads the one outside or the one inside. Both are
    /// alive.
    stamp: VolatileCell<u64>,
    cache: [CacheEntry; ENTRIES],
    /// How many entries were written. Who has read the parts of an entry sees by it whether they
    /// belong together.
    written: VolatileCell<u64>,
    /// Whether an entry is being written.
    is_caching: VolatileCell<bool>,
    /// Who reads, the innermost first.
    reader: VolatileCell<*const Reader<T>>,
}

/// In place of the current stamp: it is to be looked up. No bindings have it, and no entry of the
/// cache.
const UNKNOWN: u64 = 0;

/// What is never the current stamp.
const NEVER: u64 = u64::MAX;

/// A power of two.
const ENTRIES: usize = 256;

/// A variable, the stamp of the bindings that it was looked up in, and where its value is: null if
/// it has none.
#[repr(align(32))]
struct CacheEntry {
    var: VolatileCell<u64>,
    /// [`NEVER`] if the rest means nothing.
    stamp: VolatileCell<u64>,
    value: VolatileCell<*const ()>,
}

impl CacheEntry {
    const fn new() -> CacheEntry {
        CacheEntry {
            var: VolatileCell::new(0),
            stamp: VolatileCell::new(NEVER),
            value: VolatileCell::new(ptr::null()),
        }
    }

    fn write(&self, var: u64, stamp: u64, value: *const ()) {
        // A handler that comes in between finds nothing.
        self.stamp.set(NEVER);
        self.var.set(var);
        self.value.set(value);
        self.stamp.set(stamp);
    }
}

/// Somebody who has a reference to a value of this variable in the bindings with this stamp.
struct Reader<T: Lookup> {
    var: VarKey,
    stamp: u64,
    /// What has the value, once the context may have released it. Only changes set it, so no
    /// handler.
    kept: Cell<Option<ManuallyDrop<T::Kept>>>,
    outer: *const Reader<T>,
}

impl<T: Lookup + 'static, K: 'static, O: 'static> Contexts<T, K, O> {
    /// Those of this thread.
    #[inline]
    pub(crate) fn here(key: &'static LocalKey<Contexts<T, K, O>>) -> &'static Contexts<T, K, O> {
        // SAFETY: `Contexts` has cells, so it is not `Sync`.
        unsafe { here(key) }
    }

    pub(crate) const fn new(root: T, kind: &'static K) -> Contexts<T, K, O> {
        Contexts {
            frames: Frames::new(root, kind),
            stamp: VolatileCell::new(UNKNOWN),
            cache: [const { CacheEntry::new() }; ENTRIES],
            written: VolatileCell::new(0),
            is_caching: VolatileCell::new(false),
            reader: VolatileCell::new(ptr::null()),
        }
    }

    /// Calls `f` while `context` is current. Whether all that runs inside may read it is asked at
    /// each first read, unless `is_for_all` says so.
    #[inline]
    pub(crate) fn enter<R>(
        &self,
        context: &mut T,
        kind: &K,
        is_for_all: bool,
        scope: Option<&dyn Any>,
        f: impl FnOnce() -> R,
    ) -> R {
        // Right again when the context has been left: the one outside has not changed meanwhile.
        let _outside = PutBack {
            cell: &self.stamp,
            before: self.stamp.get(),
        };
        let stamp = match is_for_all {
            true => context.stamp(),
            false => UNKNOWN,
        };
        self.frames
            .enter(context, kind, scope, || self.call_inside(stamp, f))
    }

    /// Calls `f` while the current context's frame has this kind.
    pub(crate) fn enter_again<R>(
        &self,
        kind: &K,
        scope: Option<&dyn Any>,
        f: impl FnOnce() -> R,
    ) -> R {
        // The context may change: its stamp is to be looked up afterwards.
        let _outside = PutBack {
            cell: &self.stamp,
            before: UNKNOWN,
        };
        self.frames
            .enter_again(kind, scope, || self.call_inside(UNKNOWN, f))
    }

    /// Calls `f` in a frame that has just been pushed, whose bindings have this stamp, or
    /// [`UNKNOWN`].
    ///
    /// The stamp that is put back was read before the frame was pushed, and is stored after the
    /// frame is popped. This one is stored after the push. So whatever stamp a signal handler
    /// stores in between, that of the frame outside before the push or of the one inside after it,
    /// is stored over:
    ///
    /// ```text
    /// read the stamp | push | store that of the frame | f | pop | put the stamp back
    /// ```
    #[inline]
    fn call_inside<R>(&self, stamp: u64, f: impl FnOnce() -> R) -> R {
        self.stamp.set(stamp);
        f()
    }

    /// The address of the current context.
    pub(crate) fn current(&self) -> NonNull<T> {
        self.frames.innermost().0
    }

    /// The frames, for their scopes.
    #[inline]
    pub(crate) fn frames(&self) -> &Frames<T, K, O> {
        &self.frames
    }

    /// Calls `f`, which must not call user code, on the current context. `None` if it is busy.
    #[inline]
    pub(crate) fn peek<R>(&self, f: impl FnOnce(&T, &K) -> R) -> Option<R> {
        self.frames.peek(f)
    }

    /// The same for an `f` that does not even allocate.
    #[inline]
    pub(crate) fn glance<R>(&self, f: impl FnOnce(&T, &K) -> R) -> Option<R> {
        self.frames.glance(f)
    }

    /// Calls `f`, which must not call user code, to change the current context. `None` if it is
    /// busy.
    #[inline(always)]
    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut T, &K) -> R) -> Option<R> {
        let mut busy = self.frames.make_busy()?;
        // It stays so until `f` returns: a handler finds the context busy and does not look it up.
        self.stamp.set(UNKNOWN);
        compiler_fence(Ordering::SeqCst);
        let (context, kind) = busy.parts_mut();
        if !self.reader.get_put_back().is_null() {
            self.give_to_readers(context);
        }
        Some(f(context, kind))
    }

    #[cold]
    fn give_to_readers(&self, context: &T) {
        let stamp = context.stamp();
        let mut next = self.reader.get();
        // SAFETY: a reader that is linked is on the stack of a `read` that has not returned.
        while let Some(reader) = unsafe { next.as_ref() } {
            if reader.stamp == stamp {
                // What was kept before is the same.
                let kept = reader.kept.take();
                reader
                    .kept
                    .set(kept.or_else(|| context.keep(reader.var).map(ManuallyDrop::new)));
            }
            next = reader.outer;
        }
    }

    /// Calls `f` on the value of a variable of type `V` in the current context. `var` is its key,
    /// or [`VarKey::NONE`] if it has none yet; then `assign` gives it one. If the cache does not
    /// have the value, `reading` is asked how the current frame may be read.
    #[inline]
    pub(crate) fn read<V, R>(
        &self,
        var: VarKey,
        assign: impl FnOnce() -> VarKey,
        reading: impl FnOnce() -> Reading,
        f: impl FnOnce(Option<&V>) -> R,
    ) -> R
    where
        V: Send + Sync + 'static,
    {
        struct Unlink<'a, T: Lookup> {
            innermost: &'a VolatileCell<*const Reader<T>>,
            reader: &'a Reader<T>,
        }
        impl<T: Lookup> Drop for Unlink<'_, T> {
            #[inline]
            fn drop(&mut self) {
                self.innermost.set(self.reader.outer);
                // Most readers are given nothing, and their glue would be most of a read.
                if let Some(kept) = self.reader.kept.take() {
                    drop_kept(ManuallyDrop::into_inner(kept));
                }
            }
        }
        let stamp = self.stamp.get();
        let (var, stamp, value) = match self.cached::<V>(var, stamp) {
            Some(value) => (var, stamp, value),
            None => self.look_up(assign, reading),
        };
        if value.is_null() {
            return f(None);
        }
        let reader = Reader {
            var,
            stamp,
            kept: Cell::new(None),
            outer: self.reader.get(),
        };
        self.reader.set(&reader);
        let _unlink = Unlink {
            innermost: &self.reader,
            reader: &reader,
        };
        // SAFETY: `value` was made from a `&V` into the bindings with this stamp, now or when its
        // entry was written, and has the variable's type, because `var` is its key. These bindings
        // are those of the current context, or of one that is just being entered or left: `stamp`
        // is what `enter` or `look_up` found in it, or has been since, because whatever changes
        // that replaces it. The value lives until `f` returns, and stays where it is, behind a
        // count of its own: the context keeps its slot or, since `reader` is linked, gives it to
        // it. (Nothing could change the context before it was linked: a signal handler does not
        // write.)
        f(unsafe { value.as_ref() })
    }

    #[inline]
    fn entry(&self, var: u64, stamp: u64) -> &CacheEntry {
        &self.cache[var.wrapping_add(stamp) as usize % ENTRIES]
    }

    /// Where the value of this variable is in the bindings with this stamp, if that is known. Null
    /// if it has none.
    #[inline]
    fn cached<V>(&self, var: VarKey, stamp: u64) -> Option<*const V> {
        let entry = self.entry(var.number(), stamp);
        let written = self.written.get();
        if entry.var.get() != var.number() || entry.stamp.get() != stamp {
            return None;
        }
        let value = entry.value.get();
        // A handler in between may have replaced the entry, by that of a variable of another type.
        (self.written.get() == written).then(|| value.cast())
    }

    /// The stamp of the current context, and where the value of this variable is.
    #[cold]
    #[inline(never)]
    fn look_up<V: Send + Sync + 'static>(
        &self,
        assign: impl FnOnce() -> VarKey,
        reading: impl FnOnce() -> Reading,
    ) -> (VarKey, u64, *const V) {
        let var = assign();
        // Asked outside of `glance`: the answer may come from code of runtimes.
        let reading = reading();
        if reading == Reading::Nothing {
            return (var, UNKNOWN, ptr::null());
        }
        let found = self.glance(|context, _| {
            let stamp = context.stamp();
            if reading == Reading::Free {
                self.stamp.set(stamp);
            }
            if let Some(value) = self.cached(var, stamp) {
                return (var, stamp, value);
            }
            let (value, is_lasting) = context.find::<V>(var);
            let value = value.map_or(ptr::null(), ptr::from_ref);
            // A handler that comes while an entry is being written leaves all of them alone.
            if is_lasting && !self.is_caching.get() {
                self.is_caching.set(true);
                let entry = self.entry(var.number(), stamp);
                entry.write(var.number(), stamp, value.cast());
                self.written.set(self.written.get().wrapping_add(1));
                self.is_caching.set(false);
            }
            (var, stamp, value)
        });
        found.unwrap_or((var, UNKNOWN, ptr::null()))
    }
}

#[cold]
fn drop_kept<K>(kept: K) {
    in_destructor(|| drop(kept));
}

/// What becomes of a value when its owner drops it.
pub(crate) trait Dispose: Sized {
    /// Drops `self`, now or later.
    fn dispose(self);
}

/// A value that is given to [`Dispose::dispose`] when this is dropped.
#[repr(transparent)]
#[derive(Clone, Debug)]
pub(crate) struct DisposedOf<T: Dispose>(ManuallyDrop<T>);

impl<T: Dispose> DisposedOf<T> {
    #[inline]
    pub(crate) fn new(value: T) -> DisposedOf<T> {
        DisposedOf(ManuallyDrop::new(value))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Dispose + Deref> Deref for DisposedOf<T> {
    type Target = T::Target;

    #[inline]
    fn deref(&self) -> &T::Target {
        self.0.deref()
    }
}

impl<T: Dispose> Drop for DisposedOf<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the value is not used again: `self` is being dropped, and gives nobody else its
        // field.
        let value = unsafe { ManuallyDrop::take(&mut self.0) };
        value.dispose();
    }
}

/// A number, or a shared `T` in its place.
///
/// The last bit tells which: numbers are even, and addresses of what is aligned are, too.
pub(crate) struct NumberOrShared<T> {
    word: u64,
    _shared: PhantomData<Shared<T>>,
}

type Shared<T> = triomphe::Arc<T>;

impl<T> NumberOrShared<T> {
    const IS_SHARED: u64 = 1;

    /// `number` is even.
    #[inline]
    pub(crate) const fn number(number: u64) -> NumberOrShared<T> {
        assert!(number & Self::IS_SHARED == 0);
        NumberOrShared {
            word: number,
            _shared: PhantomData,
        }
    }

    pub(crate) fn shared(shared: Shared<T>) -> NumberOrShared<T> {
        const { assert!(align_of::<T>() > 1) };
        let address = Shared::into_raw(shared).expose_provenance();
        NumberOrShared {
            word: address as u64 | Self::IS_SHARED,
            _shared: PhantomData,
        }
    }

    /// Whether it is shared, or a number with this bit.
    #[inline]
    pub(crate) fn has_bit(&self, bit: u64) -> bool {
        self.word & (bit | Self::IS_SHARED) != 0
    }

    /// The number, if it is one.
    #[inline]
    pub(crate) fn as_number(&self) -> Option<u64> {
        (self.word & Self::IS_SHARED == 0).then_some(self.word)
    }

    fn pointer(&self) -> Option<*const T> {
        let address = (self.word & !Self::IS_SHARED) as usize;
        let is_shared = self.word & Self::IS_SHARED != 0;
        is_shared.then(|| ptr::with_exposed_provenance(address))
    }

    /// The shared value, if it is one.
    pub(crate) fn as_shared(&self) -> Option<&T> {
        // SAFETY: it comes from `Shared::into_raw`, and `self` has its count.
        self.pointer().map(|pointer| unsafe { &*pointer })
    }

    /// The shared value, if it is one. A number stays in its place.
    pub(crate) fn replace_shared(&mut self, number: u64) -> Option<Shared<T>> {
        let pointer = self.pointer()?;
        // Has no count any more.
        mem::forget(mem::replace(self, NumberOrShared::number(number)));
        // SAFETY: it comes from `Shared::into_raw`, and the count that `self` had is now here.
        Some(unsafe { Shared::from_raw(pointer) })
    }

    /// Another reference to the shared value, if it is one.
    pub(crate) fn clone_shared(&self) -> Option<Shared<T>> {
        // SAFETY: it comes from `Shared::into_raw`. Its count is that of `self`, and is not given
        // back here.
        let own = ManuallyDrop::new(unsafe { Shared::from_raw(self.pointer()?) });
        Some(Shared::clone(&own))
    }
}

impl<T> Drop for NumberOrShared<T> {
    #[inline]
    fn drop(&mut self) {
        if self.word & Self::IS_SHARED != 0 {
            drop_shared(self.replace_shared(0));
        }
    }
}

#[cold]
fn drop_shared<T>(shared: Option<Shared<T>>) {
    drop(shared);
}

/// What is done around the drop of a value.
pub(crate) trait Around {
    /// Drops `value` where it should go. Must not forget it: it may be pinned.
    ///
    /// Its type is not known, so that this is compiled once, and not in each place that drops such
    /// a value: a runtime has five of them for each task.
    fn around(&mut self, value: Undropped<'_>);

    /// The same for a value whose drop does nothing.
    fn release(self);
}

/// A value in its place, which goes when this does.
pub(crate) struct Undropped<'a> {
    value: NonNull<()>,
    drop_in_place: unsafe fn(NonNull<()>),
    _borrowed: PhantomData<&'a mut ()>,
}

impl<'a> Undropped<'a> {
    /// # Safety
    ///
    /// The value must not be used or dropped any more when this has gone.
    #[inline]
    unsafe fn new<T>(value: &'a mut ManuallyDrop<T>) -> Undropped<'a> {
        #[inline]
        unsafe fn drop_in_place<T>(value: NonNull<()>) {
            // SAFETY: the caller has it from `value` below, which was borrowed mutably all the
            // time, and calls this once.
            unsafe { ManuallyDrop::drop(value.cast::<ManuallyDrop<T>>().as_mut()) }
        }
        Undropped {
            value: NonNull::from(value).cast(),
            drop_in_place: drop_in_place::<T>,
            _borrowed: PhantomData,
        }
    }
}

impl Drop for Undropped<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `drop_in_place` is for the type of `value`, as `new` has set both; this is called
        // once; and by the contract of `new` nobody uses the value afterwards.
        unsafe { (self.drop_in_place)(self.value) }
    }
}

/// A value that is dropped where `A` says.
pub(crate) struct Inside<T, A: Around> {
    around: ManuallyDrop<A>,
    /// Pinned if this is.
    inner: ManuallyDrop<T>,
}

impl<T, A: Around> Inside<T, A> {
    pub(crate) fn new(around: A, inner: T) -> Inside<T, A> {
        Inside {
            around: ManuallyDrop::new(around),
            inner: ManuallyDrop::new(inner),
        }
    }

    pub(crate) fn around(&self) -> &A {
        &self.around
    }

    pub(crate) fn inner(&self) -> &T {
        &self.inner
    }

    pub(crate) fn parts_mut(&mut self) -> (&mut A, &mut T) {
        (&mut self.around, &mut self.inner)
    }

    #[inline]
    pub(crate) fn project(self: Pin<&mut Self>) -> (&mut A, Pin<&mut T>) {
        // SAFETY: `inner` is pinned with `self`: `drop` has it dropped in place, by `A`, which must
        // not forget it, or by unwinding from there; it is
        // moved only out of what is not pinned (`into_parts`); nothing else gives a `&mut T` out of
        // a pinned `self`; and `self` is `Unpin` only if `T` is. `around` is never pinned.
        unsafe {
            let this = self.get_unchecked_mut();
            (&mut this.around, Pin::new_unchecked(&mut *this.inner))
        }
    }

    pub(crate) fn into_parts(self) -> (A, T) {
        let this = ManuallyDrop::new(self);
        // SAFETY: both are valid for reads, and are not used again: `this` is not dropped.
        unsafe {
            (
                ManuallyDrop::into_inner(ptr::read(&this.around)),
                ManuallyDrop::into_inner(ptr::read(&this.inner)),
            )
        }
    }
}

/// What is dropped when this is.
struct Last<'a, A>(&'a mut ManuallyDrop<A>);

impl<A> Drop for Last<'_, A> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `Inside::drop` has made it of a field that nothing uses afterwards.
        unsafe { ManuallyDrop::drop(self.0) }
    }
}

impl<T, A: Around> Drop for Inside<T, A> {
    #[inline]
    fn drop(&mut self) {
        if !mem::needs_drop::<T>() {
            // SAFETY: `self` is being dropped, and has no glue for the field, which is
            // `ManuallyDrop`; nothing uses it after this.
            return unsafe { ManuallyDrop::take(&mut self.around) }.release();
        }
        // SAFETY: as above, nothing uses or drops `inner` after `value`.
        let value = unsafe { Undropped::new(&mut self.inner) };
        // Where it is: moving it would be most of what a drop is compiled to, for each future.
        let last = Last(&mut self.around);
        last.0.around(value);
    }
}

/// That a type is `Send`, for where the compiler does not know it any more.
pub(crate) struct IsSend<T>(PhantomData<fn(T) -> T>);

impl<T: Send> IsSend<T> {
    #[inline]
    pub(crate) fn new() -> IsSend<T> {
        IsSend(PhantomData)
    }
}

/// A value of a type that is `Send`, also where the compiler does not know it.
pub(crate) struct AlwaysSend<T>(T);

impl<T: Send> AlwaysSend<T> {
    #[inline]
    pub(crate) fn new(value: T) -> AlwaysSend<T> {
        AlwaysSend(value)
    }
}

impl<T, E: Send> AlwaysSend<Result<T, E>> {
    pub(crate) fn result(result: Result<T, E>, _: &IsSend<T>) -> AlwaysSend<Result<T, E>> {
        AlwaysSend(result)
    }
}

impl<T> AlwaysSend<T> {
    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.0
    }

    pub(crate) fn into_inner(self) -> T {
        self.0
    }
}

// SAFETY: the two ways to make one ask for it: `new` for the type itself, `result` for all that a
// `Result` has.
unsafe impl<T> Send for AlwaysSend<T> {}
// SAFETY: nothing can be done with a `&AlwaysSend<T>`.
unsafe impl<T> Sync for AlwaysSend<T> {}
