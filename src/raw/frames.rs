//! [`Frames`]: which value is current on this thread, without moving it there and back.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::{Ordering, compiler_fence};

use super::cell::{PutBack, VolatileCell};

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
    root_override: ManuallyDrop<Cell<Option<Rc<O>>>>,
    /// The value of the innermost frame that is [`Busy`], null if there is none. There can be
    /// several if other frames are entered in between.
    busy: VolatileCell<*const T>,
}

/// The current scope.
pub(crate) struct CurrentScope<'a, O> {
    /// A number that tells its frame from those around it. 0 for the root.
    pub(crate) frame: usize,
    pub(crate) scope: Option<&'a dyn Any>,
    pub(crate) overriding: Option<Rc<O>>,
}

struct Link<T, K, O> {
    value: NonNull<T>,
    kind: NonNull<K>,
    scope: Option<NonNull<dyn Any>>,
    /// Counts in place of the scope, if there is one. Not for signal handlers.
    overriding: Cell<Option<Rc<O>>>,
    outer: *const Link<T, K, O>,
}

impl<T: 'static, K: 'static, O: 'static> Frames<T, K, O> {
    pub(super) const fn new(value: T, kind: &'static K) -> Frames<T, K, O> {
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
    pub(super) fn enter<R>(
        &self,
        value: &mut T,
        kind: &K,
        scope: Option<&dyn Any>,
        f: impl FnOnce() -> R,
    ) -> R {
        self.enter_link(NonNull::from(value), kind, scope, f)
    }

    /// Calls `f` while the innermost frame has this kind.
    pub(super) fn enter_again<R>(
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

    /// Calls `f` on the current scope: that of the innermost frame that has one, or what overrides
    /// it.
    #[inline]
    pub(crate) fn scope<R>(&self, f: impl FnOnce(CurrentScope<'_, O>) -> R) -> R {
        let link = self.scope_link();
        let overriding = match link {
            Some(link) => &link.overriding,
            None => &*self.root_override,
        };
        let frame = link.map_or(0, |link| ptr::from_ref(link).addr());
        // SAFETY: `enter` has borrowed it, and does not return before `f` does.
        let scope = link
            .and_then(|link| link.scope)
            .map(|scope| unsafe { &*scope.as_ptr() });
        // SAFETY: nobody replaces it while a count is added. It is not borrowed any longer, because
        // `f` may override the scope.
        let overriding = unsafe { &*overriding.as_ptr() }.as_ref().map(Rc::clone);
        f(CurrentScope {
            frame,
            scope,
            overriding,
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

    /// Sets what overrides the scope of the frame with this number, or of the innermost one, and
    /// returns the frame's number and what did so before. A frame that has been left is not
    /// looked for elsewhere: then `overriding` is given back.
    pub(crate) fn override_scope(
        &self,
        frame: Option<usize>,
        overriding: Option<Rc<O>>,
    ) -> (usize, Option<Rc<O>>) {
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
    pub(super) fn innermost(&self) -> (NonNull<T>, NonNull<K>) {
        // SAFETY: if it is not null, `enter_link` has set it and not returned, so that the link is
        // alive. That stays so: a handler that comes in between leaves what it enters.
        self.parts(unsafe { self.innermost.get().as_ref() })
    }

    /// The frame around the innermost one. `None` if the innermost one is the root.
    fn outer(&self) -> Option<(NonNull<T>, NonNull<K>)> {
        // SAFETY: as in `innermost`.
        let link = unsafe { self.innermost.get().as_ref() }?;
        // SAFETY: as in `scope_link`.
        Some(self.parts(unsafe { link.outer.as_ref() }))
    }

    /// Of the root, if there is no link.
    #[inline]
    fn parts(&self, link: Option<&Link<T, K, O>>) -> (NonNull<T>, NonNull<K>) {
        match link {
            Some(link) => (link.value, link.kind),
            // `UnsafeCell` and `ManuallyDrop` have the layout of what they hold.
            None => (
                NonNull::from(&self.root).cast(),
                NonNull::from(self.root_kind),
            ),
        }
    }

    /// Makes the innermost frame busy. `None` if it is already: in an allocator or a signal
    /// handler. No user code may be called meanwhile.
    #[inline]
    pub(super) fn make_busy(&self) -> Option<Busy<'_, T, K>> {
        self.make_this_busy(self.innermost())
    }

    #[inline]
    fn make_this_busy(&self, (value, kind): (NonNull<T>, NonNull<K>)) -> Option<Busy<'_, T, K>> {
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

    /// The same for the frame around the innermost one. `None` if the innermost one is the root, or
    /// any frame is busy: `busy` names only the one that was made busy last.
    pub(crate) fn peek_outer<R>(&self, f: impl FnOnce(&T, &K) -> R) -> Option<R> {
        if !self.busy.get_put_back().is_null() {
            return None;
        }
        let busy = self.make_this_busy(self.outer()?)?;
        let (value, kind) = busy.parts();
        Some(f(value, kind))
    }

    /// As [`peek`](Frames::peek), for an `f` that does not even allocate.
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

/// A frame, mostly the innermost one, which is busy as long as this is there: whoever comes in
/// between does not touch it.
pub(super) struct Busy<'a, T, K> {
    value: NonNull<T>,
    kind: NonNull<K>,
    _put_back: PutBack<'a, *const T>,
}

impl<T, K> Busy<'_, T, K> {
    /// To change the frame. Not for signal handlers, except in a frame that they have entered.
    #[inline]
    pub(super) fn parts_mut(&mut self) -> (&mut T, &K) {
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
        // SAFETY: both are alive as above. There is no `&mut` to the value: a `Busy` around this that
        // had one would have made it busy, which `make_busy` has looked for (`peek_outer` for that
        // of any frame), and none is made as long as this is there. There may be other shared
        // references, of a `glance` that a signal handler has interrupted.
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
