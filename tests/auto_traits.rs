//! Which public types are `Send`, `Sync`, `Unpin` and unwind safe: a promise, and easily broken by accident.

use std::cell::Cell;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use aiocontextvars::event_loop::{EventLoop, LoopHandle};
use aiocontextvars::shim::{
    self, AbortHandle, CallError, CallHandle, ContextAwareExecutor, EnterGuard, FromSchedule, Job,
    JoinError, JoinHandle, LocalRunnable, NoRuntime, Runnable, TimerHandle,
};
use aiocontextvars::{
    AlreadyEntered, Context, ContextVar, Entry, Iter, LookupError, ResetError, Scoped, SetError,
    SharedContext, Token, WithContext,
};

/// Whether a type implements a trait, as a constant: the inherent one is found first where its bound holds.
macro_rules! implements {
    ($type:ty: $($bound:tt)+) => {{
        #[allow(dead_code)]
        trait Otherwise {
            const YES: bool = false;
        }
        impl<T: ?Sized> Otherwise for T {}
        struct Asked<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: ?Sized + $($bound)+> Asked<T> {
            const YES: bool = true;
        }
        <Asked<$type>>::YES
    }};
}

macro_rules! table {
    ($($type:ty: $send:literal $sync:literal $unpin:literal;)*) => {$(
        let found = [
            implements!($type: Send),
            implements!($type: Sync),
            implements!($type: Unpin),
        ];
        assert_eq!(found, [$send != 0, $sync != 0, $unpin != 0], stringify!($type));
    )*};
}

type NotSync = Cell<u8>;
type NotSend = Rc<u8>;

#[test]
fn send_sync_and_unpin() {
    table! {
        ContextVar<u8>: 1 1 1;
        Context: 1 1 1;
        SharedContext: 1 1 1;
        Token<u8>: 1 1 1;
        Scoped<'static, u8>: 1 1 1;
        Iter<'static>: 1 1 1;
        Entry<'static>: 1 1 1;
        LookupError: 1 1 1;
        AlreadyEntered: 1 1 1;
        ResetError<u8>: 1 1 1;
        SetError<u8>: 1 1 1;
        SetError<NotSend>: 0 0 1;
        WithContext<u8>: 1 1 1;
        WithContext<NotSync>: 1 0 1;
        WithContext<NotSend>: 0 0 1;
        WithContext<u8, SharedContext>: 1 1 1;
        WithContext<std::marker::PhantomPinned>: 1 1 0;
        JoinHandle<u8>: 1 1 1;
        JoinHandle<NotSync>: 1 1 1;
        JoinHandle<NotSend>: 0 0 1;
        AbortHandle: 1 1 1;
        shim::DoneCallbackId: 1 1 1;
        shim::TaskGroup<u8>: 1 1 1;
        shim::TaskGroup<NotSync>: 1 1 1;
        shim::TaskGroupError<u8>: 1 1 1;
        shim::JoinSet<u8>: 1 1 1;
        shim::JoinSet<NotSend>: 0 0 1;
        shim::Runner: 0 0 1;
        aiocontextvars::event_loop::SlowCallback: 1 1 1;
        JoinError: 1 1 1;
        CallHandle: 1 1 1;
        TimerHandle: 1 1 1;
        CallError: 1 0 1;
        NoRuntime: 1 1 1;
        Runnable: 1 1 1;
        LocalRunnable: 0 0 1;
        Job: 1 1 1;
        EnterGuard<'static>: 0 0 1;
        ContextAwareExecutor<FromSchedule>: 1 1 1;
        ContextAwareExecutor<NotSend>: 0 0 1;
        EventLoop: 0 0 1;
        LoopHandle: 1 1 1;
        shim::Sleep: 1 0 1;
        shim::Timeout<std::future::Ready<()>>: 1 0 1;
        shim::Elapsed: 1 1 1;
        shim::YieldNow: 1 1 1;
    }
}

#[test]
fn cv_11_variables_tokens_and_guards_are_not_cloned() {
    // A clone of a variable would be another variable, and one of a token would work twice (TK-01, TK-04).
    assert!(!implements!(ContextVar<u8>: Clone));
    assert!(!implements!(Token<u8>: Clone) && !implements!(Token<u8>: Copy));
    assert!(!implements!(Scoped<'static, u8>: Clone));
    assert!(!implements!(Token<u8>: PartialEq) && !implements!(Token<u8>: std::hash::Hash));
    assert!(implements!(Context: Clone) && implements!(SharedContext: Clone));
}

#[test]
fn unwind_safety() {
    assert!(implements!(Context: UnwindSafe) && implements!(Context: RefUnwindSafe));
    assert!(implements!(SharedContext: UnwindSafe) && implements!(SharedContext: RefUnwindSafe));
    assert!(implements!(ContextVar<u8>: UnwindSafe) && implements!(ContextVar<u8>: RefUnwindSafe));
}
