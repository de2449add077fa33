//! What safe Rust cannot say: pointers to frames and values that the machine stack keeps alive. The only unsafe code of
//! the crate.
//!
//! - [`Frames`]: which `T` is current on this thread, without moving it there and back.
//! - [`Contexts`]: reading a value of the current context where it is, without a reference count, and a cache of where
//!   the values are.
//! - [`Inside`]: a value that is dropped inside of something.
//!
//! The invariants that hold for all of them:
//! - All three are entered by calling a closure, so that they are left in reverse order, also by a panic. (As for the
//!   scoped thread-locals of other crates, code that suspends its machine stack may not do so in the middle.)
//! - A `&mut` into a frame exists only in [`Frames::peek`], which refuses to be called again by its closure.
//!
//! And, for the conformance suite only, `waker`: one that hears of all that is done to it.

#![allow(unsafe_code, reason = "see above")]

use std::cell::{Cell, RefCell, UnsafeCell};
use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::ptr::{self, NonNull};
#[cfg(feature = "conformance")]
use std::sync::Arc;
#[cfg(feature = "conformance")]
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::contain::in_destructor;
use crate::context::Context;
use crate::id;
use crate::node;
use crate::slot::Slot;
use crate::sync::LocalKey;
use crate::var::ContextVar;

/// A stack of frames in a thread-local that has no destructor. The frames belong to the calls of
/// [`enter`](Frames::enter); only the root is here.
pub(crate) struct Frames<T, K: ?Sized + 'static> {
    /// Null if it is the root.
    innermost: Cell<*const Link<T, K>>,
    root: UnsafeCell<ManuallyDrop<T>>,
    root_kind: &'static K,
    /// Whether there is a `&mut` into a frame.
    peeked: Cell<bool>,
}

struct Link<T, K: ?Sized> {
    value: NonNull<T>,
    kind: NonNull<K>,
}

/// What a thread-local without a destructor holds. Unlike in a call of [`LocalKey::with`], what is done with it can be
/// inlined where it is done.
///
/// # Safety
///
/// `L` is not `Sync`, so that the reference cannot leave the thread.
#[inline]
unsafe fn here<L>(key: &'static LocalKey<L>) -> &'static L {
    const { assert!(!mem::needs_drop::<L>()) };
    let pointer = key.with(ptr::from_ref);
    // SAFETY: as it has no destructor, it is there for as long as code of the thread runs, and is never written again as a
    // whole; and the reference stays on the thread, as the caller promises.
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

impl<T: 'static, K: ?Sized + 'static> Frames<T, K> {
    /// Those of this thread.
    #[inline]
    pub(crate) fn here(key: &'static LocalKey<Frames<T, K>>) -> &'static Frames<T, K> {
        // SAFETY: `Frames` has cells, so it is not `Sync`.
        unsafe { here(key) }
    }

    pub(crate) const fn new(value: T, kind: &'static K) -> Frames<T, K> {
        Frames {
            innermost: Cell::new(ptr::null()),
            root: UnsafeCell::new(ManuallyDrop::new(value)),
            root_kind: kind,
            peeked: Cell::new(false),
        }
    }

    /// Calls `f` while `value` is the innermost frame.
    #[inline]
    pub(crate) fn enter<R>(&self, value: &mut T, kind: &K, f: impl FnOnce() -> R) -> R {
        struct Leave<'a, T, K: ?Sized> {
            innermost: &'a Cell<*const Link<T, K>>,
            outer: *const Link<T, K>,
        }
        impl<T, K: ?Sized> Drop for Leave<'_, T, K> {
            #[inline]
            fn drop(&mut self) {
                self.innermost.set(self.outer);
            }
        }
        let link = Link {
            value: NonNull::from(value),
            kind: NonNull::from(kind),
        };
        // Dropped before `link`.
        let _leave = Leave {
            innermost: &self.innermost,
            outer: self.innermost.replace(&link),
        };
        f()
    }

    /// Calls `f` on the innermost frame.
    ///
    /// # Panics
    ///
    /// If `f` does so, too.
    #[inline]
    pub(crate) fn peek<R>(&self, f: impl FnOnce(&mut T, &K) -> R) -> R {
        struct Unpeek<'a>(&'a Cell<bool>);
        impl Drop for Unpeek<'_> {
            #[inline]
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        assert!(
            !self.peeked.replace(true),
            "user code ran while a frame was in use"
        );
        let _unpeek = Unpeek(&self.peeked);
        // SAFETY: if it is not null, `enter` has set it and not returned, so that the link is alive.
        let (value, kind) = match unsafe { self.innermost.get().as_ref() } {
            Some(link) => (link.value.as_ptr(), link.kind),
            // `ManuallyDrop` has the layout of what it holds.
            None => (self.root.get().cast(), NonNull::from(self.root_kind)),
        };
        // SAFETY: both are alive until `f` returns: the root as long as `self`, the others because `enter` has borrowed
        // them and not returned. There is no other reference to the value: `enter` has it mutably and does not use it
        // while it calls its closure, and `peeked` keeps a second `peek` out. `kind` is only ever shared.
        let (value, kind) = unsafe { (&mut *value, kind.as_ref()) };
        f(value, kind)
    }
}

/// The contexts that are entered on this thread, and reading the current one, which is the innermost.
///
/// A stamp names one set of bindings for ever. So a place in the cache that names a variable and the stamp of the current
/// bindings is right, whatever was current in between, and the value is alive, because the current context has its
/// bindings. While one is read, user code runs, which may do anything, but:
/// - Contexts that are not current stay as they are: the code that entered the next one has not returned.
/// - All changes to the current one go through [`change`](Contexts::change). Before it lets go of what somebody reads, it
///   gives that to the reader: the slot, whose values are behind reference counts of their own, where they stay.
/// - Whenever another context becomes current, or its bindings change, the current stamp is forgotten.
/// - A variable has one type (`ContextVar<T>` is invariant), and an id that no other has.
pub(crate) struct Contexts<K: 'static> {
    frames: Frames<Context, K>,
    /// The stamp of the current bindings. 0 if it has not been looked at.
    stamp: Cell<u64>,
    places: [Place; PLACES],
    /// Who reads, the innermost first.
    reader: Cell<*const Reader>,
}

/// How many places the cache has. A power of two.
const PLACES: usize = 64;

/// A variable, the stamp of the bindings that it was looked up in, and where its value is: null if it has none.
struct Place {
    /// 0 if nothing was looked up yet.
    var: Cell<u64>,
    stamp: Cell<u64>,
    value: Cell<*const ()>,
}

/// Somebody who has a reference to a value of this variable in the bindings with this stamp.
struct Reader {
    var: u64,
    stamp: u64,
    /// The variable's slot, once the context may have let go of it.
    kept: Cell<Option<Slot>>,
    outer: *const Reader,
}

impl<K: 'static> Contexts<K> {
    /// Those of this thread.
    #[inline]
    pub(crate) fn here(key: &'static LocalKey<Contexts<K>>) -> &'static Contexts<K> {
        // SAFETY: `Contexts` has cells, so it is not `Sync`.
        unsafe { here(key) }
    }

    pub(crate) const fn new(root: Context, kind: &'static K) -> Contexts<K> {
        Contexts {
            frames: Frames::new(root, kind),
            stamp: Cell::new(0),
            places: [const {
                Place {
                    var: Cell::new(0),
                    stamp: Cell::new(0),
                    value: Cell::new(ptr::null()),
                }
            }; PLACES],
            reader: Cell::new(ptr::null()),
        }
    }

    /// Calls `f` while `context` is current.
    #[inline]
    pub(crate) fn enter<R>(&self, context: &mut Context, kind: &K, f: impl FnOnce() -> R) -> R {
        struct Forget<'a>(&'a Cell<u64>);
        impl Drop for Forget<'_> {
            #[inline]
            fn drop(&mut self) {
                self.0.set(0);
            }
        }
        self.stamp.set(0);
        // Dropped when the context has been left.
        let _forget = Forget(&self.stamp);
        self.frames.enter(context, kind, f)
    }

    /// Calls `f`, which must not call user code, on the current context.
    #[inline]
    pub(crate) fn peek<R>(&self, f: impl FnOnce(&Context, &K) -> R) -> R {
        self.frames.peek(|context, kind| f(context, kind))
    }

    /// Calls `f`, which must not call user code, to change the current context.
    #[inline]
    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut Context, &K) -> R) -> R {
        self.frames.peek(|context, kind| {
            self.stamp.set(0);
            if !self.reader.get().is_null() {
                self.give_to_readers(context);
            }
            f(context, kind)
        })
    }

    #[cold]
    fn give_to_readers(&self, context: &Context) {
        let Some(bindings) = context.bindings() else {
            return;
        };
        let mut next = self.reader.get();
        // SAFETY: a reader that is linked is on the stack of a `read` that has not returned.
        while let Some(reader) = unsafe { next.as_ref() } {
            if reader.stamp == bindings.stamp() {
                // What was kept before is the same, and nothing is dropped.
                reader.kept.set(bindings.slot(reader.var).cloned());
            }
            next = reader.outer;
        }
    }

    /// Calls `f` on the value of `var` in the current context.
    #[inline]
    pub(crate) fn read<T, R>(&self, var: &ContextVar<T>, f: impl FnOnce(Option<&T>) -> R) -> R
    where
        T: Send + Sync + 'static,
    {
        struct Unlink<'a> {
            innermost: &'a Cell<*const Reader>,
            reader: &'a Reader,
        }
        impl Drop for Unlink<'_> {
            #[inline]
            fn drop(&mut self) {
                self.innermost.set(self.reader.outer);
                let kept = self.reader.kept.take();
                if kept.is_some() {
                    drop_kept(kept);
                }
            }
        }
        let (id, stamp) = (var.id(), self.stamp.get());
        let (stamp, value) = match self.cached::<T>(id, stamp) {
            Some(value) => (stamp, value),
            None => self.look_up(id),
        };
        if value.is_null() {
            return f(None);
        }
        let reader = Reader {
            var: id,
            stamp,
            kept: Cell::new(None),
            outer: self.reader.get(),
        };
        self.reader.set(&reader);
        let _unlink = Unlink {
            innermost: &self.reader,
            reader: &reader,
        };
        // SAFETY: `value` was made from a `&T` into the bindings with this stamp, now or when its place was filled, and
        // has the variable's type, because `id` is this variable's. These bindings are the current context's: `stamp` is
        // what `look_up` found in it, or has been since, because whatever changes that forgets it. The value lives
        // until `f` returns, and stays where it is, behind a count of its own: the context keeps its slot or, since
        // `reader` is linked, gives it to it.
        f(unsafe { value.as_ref() })
    }

    #[inline]
    fn place(&self, var: u64, stamp: u64) -> &Place {
        &self.places[var.wrapping_add(stamp) as usize % PLACES]
    }

    /// Where the value of this variable is in the bindings with this stamp, if that is known. Null if it has none.
    #[inline]
    fn cached<T>(&self, var: u64, stamp: u64) -> Option<*const T> {
        let place = self.place(var, stamp);
        let is_known = place.var.get() == var && place.stamp.get() == stamp;
        is_known.then(|| place.value.get().cast())
    }

    /// The stamp of the current context, and where the value of this variable is.
    #[cold]
    #[inline(never)]
    fn look_up<T: Send + Sync + 'static>(&self, var: u64) -> (u64, *const T) {
        self.peek(|context, _| {
            let bindings = context.bindings();
            let stamp = bindings.map_or(EMPTY, |bindings| bindings.stamp());
            self.stamp.set(stamp);
            if let Some(value) = self.cached(var, stamp) {
                return (stamp, value);
            }
            let slot = bindings.and_then(|bindings| bindings.slot(var));
            let value = slot.and_then(|slot| slot.visible(context.id()));
            let value = value.and_then(|value| node::downcast::<T>(&**value));
            let value = value.map_or(ptr::null(), ptr::from_ref);
            // The end of a guard shows through its layers, without new bindings.
            if slot.is_none_or(|slot| slot.layers.is_none()) {
                let place = self.place(var, stamp);
                place.var.set(var);
                place.stamp.set(stamp);
                place.value.set(value.cast());
            }
            (stamp, value)
        })
    }
}

#[cold]
fn drop_kept(kept: Option<Slot>) {
    in_destructor(|| drop(kept));
}

/// The stamp of a context without bindings.
const EMPTY: u64 = id::RESERVED;

/// What is done around the drop of a value.
pub(crate) trait Around {
    /// Calls `f`, which drops the value.
    fn around(&mut self, f: impl FnOnce());
}

/// A value that is dropped where `A` says.
pub(crate) struct Inside<T, A: Around> {
    around: A,
    /// Pinned if this is.
    inner: ManuallyDrop<T>,
}

impl<T, A: Around> Inside<T, A> {
    pub(crate) fn new(around: A, inner: T) -> Inside<T, A> {
        Inside {
            around,
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
        // SAFETY: `inner` is pinned with `self`: `drop` drops it in place, whatever `A` does; it is moved only out of what
        // is not pinned (`into_parts`); nothing else gives a `&mut T` out of a pinned `self`; and `self` is `Unpin` only
        // if `T` is. `around` is never pinned.
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
                ptr::read(&this.around),
                ManuallyDrop::into_inner(ptr::read(&this.inner)),
            )
        }
    }
}

impl<T, A: Around> Drop for Inside<T, A> {
    #[inline]
    fn drop(&mut self) {
        /// Drops the value where this goes.
        struct Inner<'a, T>(&'a mut ManuallyDrop<T>);
        impl<T> Drop for Inner<'_, T> {
            #[inline]
            fn drop(&mut self) {
                // SAFETY: only `Inside::drop` makes one, and the value is used no more after that.
                unsafe { ManuallyDrop::drop(self.0) }
            }
        }
        // It goes here, at the latest: also if the closure is not called, or the call panics first.
        let mut inner = Some(Inner(&mut self.inner));
        self.around.around(|| drop(inner.take()));
    }
}

/// What is done to a [`waker`].
#[cfg(feature = "conformance")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WakerHook {
    Clone,
    Wake,
    Drop,
}

/// A waker that calls `f` whenever something is done to it. Those that are made safely do not hear of clones.
#[cfg(feature = "conformance")]
pub(crate) fn waker(f: impl Fn(WakerHook) + Send + Sync + 'static) -> Waker {
    type OnWaker = Arc<dyn Fn(WakerHook) + Send + Sync>;

    const TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            // SAFETY: `data` is from `raw`, and its owner is there for the time of the call.
            let hook = unsafe { &*data.cast::<OnWaker>() };
            hook(WakerHook::Clone);
            raw(Arc::clone(hook))
        },
        |data| {
            // SAFETY: `data` is from `raw`, and the waker is used up.
            let hook = unsafe { Box::from_raw(data.cast::<OnWaker>().cast_mut()) };
            hook(WakerHook::Wake);
            hook(WakerHook::Drop);
        },
        |data| {
            // SAFETY: as for clones.
            let hook = unsafe { &*data.cast::<OnWaker>() };
            hook(WakerHook::Wake);
        },
        |data| {
            // SAFETY: `data` is from `raw`, and the waker is dropped.
            let hook = unsafe { Box::from_raw(data.cast::<OnWaker>().cast_mut()) };
            hook(WakerHook::Drop);
        },
    );
    fn raw(hook: OnWaker) -> RawWaker {
        RawWaker::new(Box::into_raw(Box::new(hook)).cast(), &TABLE)
    }
    // SAFETY: each waker owns a box of what is `Send` and `Sync`, which is freed when the waker is used up or dropped.
    unsafe { Waker::from_raw(raw(Arc::new(f))) }
}
