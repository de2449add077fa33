//! [`Contexts`]: reading a value of the current context where it is.

use std::any::Any;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::atomic::{Ordering, compiler_fence};

use super::cell::{PutBack, VolatileCell, here};
use super::frames::Frames;
use crate::catch::in_destructor;
use crate::id::VarKey;
use crate::sync::LocalKey;

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
///   returned. (One that was entered again has two frames, and is current in the inner one.)
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
        let _outside = PutBack::later(&self.stamp, self.stamp.get());
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
        let _outside = PutBack::later(&self.stamp, UNKNOWN);
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

    /// The frames, to look at what they have.
    #[inline]
    pub(crate) fn frames(&self) -> &Frames<T, K, O> {
        &self.frames
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
        let found = self.frames.glance(|context, _| {
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
