//! What threads share, and what each has for itself: the standard library's, or loom's where models
//! of the protocols are run (`models/`, built with `--cfg aiocontextvars_loom`).
//!
//! Code whose threads wait for or wake each other imports these from here. Counters, caches and
//! handlers, whose order is no protocol, use the standard library directly.

#[cfg(aiocontextvars_loom)]
mod model;
mod waker_cell;

pub(crate) use self::waker_cell::WakerCell;

#[cfg(aiocontextvars_loom)]
pub(crate) use self::model::{LocalKey, StaticMutex, atomic, thread_local};
#[cfg(aiocontextvars_loom)]
pub(crate) use loom::{
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};

#[cfg(not(aiocontextvars_loom))]
pub(crate) use std::{
    sync::{Condvar, Mutex, Mutex as StaticMutex, MutexGuard, atomic},
    thread::{self, LocalKey},
    thread_local,
};

// Of `portable-atomic` on processors that have none of this size.
#[cfg(not(target_has_atomic = "64"))]
pub(crate) use portable_atomic::AtomicU64;
#[cfg(target_has_atomic = "64")]
pub(crate) use std::sync::atomic::AtomicU64;
