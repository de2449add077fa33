//! [`Inside`]: a value that is dropped inside of something; [`DisposedOf`]: one that somebody else
//! drops.

use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::ops::Deref;
use std::pin::Pin;
use std::ptr::{self, NonNull};

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
        // not forget it, or by unwinding from there; it is moved only out of what is not pinned
        // (`into_parts`); nothing else gives a `&mut T` out of a pinned `self`; and `self` is
        // `Unpin` only if `T` is. `around` is never pinned.
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

/// Drops `value` where `around` says, and `around`. In one function, which is compiled once for
/// each `A`: what it takes to drop a context would be in five places for each future otherwise.
///
/// # Safety
///
/// `around` must not be used or dropped any more when this has returned or unwound.
#[inline(never)]
unsafe fn drop_both<A: Around>(around: &mut ManuallyDrop<A>, value: Undropped<'_>) {
    struct Last<'a, A>(&'a mut ManuallyDrop<A>);
    impl<A> Drop for Last<'_, A> {
        #[inline]
        fn drop(&mut self) {
            // SAFETY: by the contract of `drop_both` nothing uses it afterwards, and this is called
            // once.
            unsafe { ManuallyDrop::drop(self.0) }
        }
    }
    // Where it is: moving it would be most of what a drop is compiled to.
    Last(around).0.around(value);
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
        // SAFETY: as above, nothing uses or drops `around` after this, whether it returns or
        // unwinds.
        unsafe { drop_both(&mut self.around, value) }
    }
}
