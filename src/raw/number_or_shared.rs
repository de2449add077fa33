//! [`NumberOrShared`]: a number or a shared value, in the space of the number.

use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::ptr;

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
