//! A waker that hears of all that is done to it. The only unsafe code of the crate: wakers of
//! `std::task::Wake` do not hear of clones.

#![allow(unsafe_code, reason = "see above")]

use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// What is done to a [`waker`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WakerHook {
    Clone,
    Wake,
    Drop,
}

/// A waker that calls `f` whenever something is done to it.
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
    // SAFETY: each waker owns a box of what is `Send` and `Sync`, which is freed when the waker is
    // used up or dropped.
    unsafe { Waker::from_raw(raw(Arc::new(f))) }
}
