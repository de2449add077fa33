//! loom's primitives, in the shape of those that they stand for.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError};

/// As `std::sync::atomic`.
pub(crate) mod atomic {
    use std::mem::ManuallyDrop;
    use std::ops::Deref;

    pub(crate) use loom::sync::atomic::Ordering;

    /// Dropped without a trace. The owner of the last `Arc` around it drops it, and loom
    /// does not see that its count puts this after all use.
    macro_rules! untraced {
        ($($name:ident: $value:ty;)*) => {$(
            #[derive(Debug)]
            pub(crate) struct $name(ManuallyDrop<loom::sync::atomic::$name>);

            impl $name {
                pub(crate) fn new(value: $value) -> $name {
                    $name(ManuallyDrop::new(loom::sync::atomic::$name::new(value)))
                }
            }

            impl Default for $name {
                fn default() -> $name {
                    $name::new(Default::default())
                }
            }

            impl Deref for $name {
                type Target = loom::sync::atomic::$name;

                fn deref(&self) -> &loom::sync::atomic::$name {
                    &self.0
                }
            }
        )*};
    }

    untraced! {
        AtomicBool: bool;
        AtomicUsize: usize;
    }
}

/// As a `std::sync::Mutex` in a static, which outlives models. loom sees all of these as one lock.
pub(crate) struct StaticMutex<T>(std::sync::Mutex<T>);

loom::lazy_static! {
    static ref STATICS: loom::sync::Mutex<()> = loom::sync::Mutex::new(());
}

impl<T> StaticMutex<T> {
    pub(crate) const fn new(value: T) -> StaticMutex<T> {
        StaticMutex(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<StaticMutexGuard<'_, T>> {
        let statics = STATICS.lock().unwrap_or_else(PoisonError::into_inner);
        let value = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(StaticMutexGuard {
            value,
            _statics: statics,
        })
    }
}

pub(crate) struct StaticMutexGuard<'a, T> {
    value: std::sync::MutexGuard<'a, T>,
    // Released last: another thread of the model must never wait for the one above, which loom does
    // not see.
    _statics: loom::sync::MutexGuard<'static, ()>,
}

impl<T> Deref for StaticMutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for StaticMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// As `std::thread::AccessError`. There is none.
#[derive(Debug)]
pub(crate) struct AccessError;

/// As `std::thread::LocalKey`, for the threads of a model, which all run on one of the system's.
pub(crate) struct LocalKey<T: 'static> {
    pub(crate) key: &'static loom::thread::LocalKey<T>,
    pub(crate) init: fn() -> T,
}

impl<T> LocalKey<T> {
    pub(crate) fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        let mut f = Some(f);
        let result = self.key.try_with(|value| f.take().map(|f| f(value)));
        match (result, f) {
            (Ok(Some(result)), _) => result,
            // Those without a destructor can be used to a thread's end, by pointers as well. What
            // they hold then is their first value.
            (_, Some(f)) => f(Box::leak(Box::new((self.init)()))),
            _ => unreachable!("called once"),
        }
    }

    pub(crate) fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        Ok(self.with(f))
    }
}

impl<T> LocalKey<RefCell<T>> {
    pub(crate) fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }
}

/// As `std::thread_local`.
macro_rules! local {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $init:expr);* $(;)?) => {$(
        $(#[$attribute])*
        $visibility static $name: $crate::sync::LocalKey<$type> = {
            fn init() -> $type {
                $init
            }
            loom::thread_local! { static KEY: $type = init(); }
            $crate::sync::LocalKey { key: &KEY, init }
        };
    )*};
}
// `thread_local` is the name of an attribute as well, which a macro of that name cannot be imported
// beside.
pub(crate) use local as thread_local;
