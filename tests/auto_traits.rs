//! Which public types are `Send`, `Sync`, `Unpin` and unwind safe: a promise, and easily broken by
//! accident.
//!
//! What holds bindings is unwind safe, because they are immutable, and so are groups, whose state
//! is behind a lock. Handles and futures promise no such thing.

use std::cell::Cell;
use std::future::Ready;
use std::marker::{PhantomData, PhantomPinned};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use aiocontextvars::{
    AccessError, AlreadyEntered, ApplyError, Carried, Context, ContextVar, Entry, FieldValue,
    Fields, Iter, LocalKey, LookupError, NoDefault, ResetError, ResetErrorKind, Scope,
    ScopeContext, Scoped, SetError, SetErrorKind, SharedContext, TaskLocalFuture, Token,
    WithContext, WithDefault, channel, companion, event_loop, propagation, shim,
};

#[cfg(any(feature = "log", feature = "tracing"))]
use aiocontextvars::bridge;

mod public_types;

/// Whether a type, given as a `PhantomData`, implements a trait: the inherent method is found first
/// where its bound holds.
macro_rules! implements {
    ($phantom:expr, $($bound:tt)+) => {{
        struct Asked<T: ?Sized>(PhantomData<T>);
        #[allow(dead_code)]
        trait Otherwise {
            fn answer(&self) -> bool {
                false
            }
        }
        impl<T: ?Sized> Otherwise for Asked<T> {}
        #[allow(dead_code)]
        impl<T: ?Sized + $($bound)+> Asked<T> {
            fn answer(&self) -> bool {
                true
            }
        }
        Asked($phantom).answer()
    }};
}

/// The type of a value that has no name, such as a closure.
fn type_of<T>(_: T) -> PhantomData<T> {
    PhantomData
}

struct Row {
    name: &'static str,
    /// `Send`, `Sync`, `Unpin`, `UnwindSafe`, `RefUnwindSafe`.
    promised: [bool; 5],
    found: [bool; 5],
}

macro_rules! row {
    ($name:expr, $phantom:expr, $($promised:literal)*) => {{
        let phantom = $phantom;
        Row {
            name: $name,
            promised: [$($promised != 0),*],
            found: [
                implements!(phantom, Send),
                implements!(phantom, Sync),
                implements!(phantom, Unpin),
                implements!(phantom, UnwindSafe),
                implements!(phantom, RefUnwindSafe),
            ],
        }
    }};
}

macro_rules! types {
    ($($(#[$cfg:meta])? $type:ty: $($promised:literal)*;)*) => {{
        let mut rows = Vec::new();
        $(
            $(#[$cfg])?
            rows.push(row!(stringify!($type), PhantomData::<$type>, $($promised)*));
        )*
        rows
    }};
}

/// What functions return without a name.
macro_rules! values {
    ($($value:expr => $($promised:literal)*;)*) => {
        [$(row!(stringify!($value), type_of($value), $($promised)*)),*]
    };
}

#[track_caller]
fn check(rows: &[Row]) {
    let broken = rows.iter().filter(|row| row.found != row.promised);
    let broken: Vec<_> = broken
        .map(|row| format!("{}: {:?}", row.name, row.found.map(u8::from)))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

type NotSync = Cell<u8>;
type NotSend = Rc<u8>;

#[rustfmt::skip]
fn types() -> Vec<Row> {
    types! {
        //                                  Send Sync Unpin UnwindSafe RefUnwindSafe
        ContextVar<u8>:                         1 1 1 1 1;
        ContextVar<u8, WithDefault>:            1 1 1 1 1;
        NoDefault:                              1 1 1 1 1;
        WithDefault:                            1 1 1 1 1;
        Context:                                1 1 1 1 1;
        SharedContext:                          1 1 1 1 1;
        Token<u8>:                              1 1 1 1 1;
        Token<NotSync>:                         1 1 1 1 1;
        Scoped<'static, u8>:                    1 1 1 1 1;
        Iter<'static>:                          1 1 1 0 0;
        Entry<'static>:                         1 1 1 1 1;
        LookupError:                            1 1 1 1 1;
        AlreadyEntered:                         1 1 1 1 1;
        ApplyError:                             1 1 1 1 1;
        ResetError<u8>:                         1 1 1 1 1;
        ResetErrorKind:                         1 1 1 1 1;
        SetError<u8>:                           1 1 1 1 1;
        SetError<NotSend>:                      0 0 1 1 1;
        SetErrorKind:                           1 1 1 1 1;
        WithContext<u8>:                        1 1 1 1 1;
        WithContext<NotSync>:                   1 0 1 1 0;
        WithContext<NotSend>:                   0 0 1 1 1;
        WithContext<PhantomPinned>:             1 1 0 1 1;
        WithContext<u8, SharedContext>:         1 1 1 1 1;
        Scope<u8>:                              1 1 1 1 1;
        Scope<NotSync>:                         1 0 1 1 0;
        Scope<NotSend>:                         0 0 1 1 1;
        Scope<PhantomPinned>:                   1 1 0 1 1;
        ScopeContext:                           1 1 1 1 1;
        LocalKey<u8>:                           1 1 1 1 1;
        TaskLocalFuture<u8, u8>:                1 1 1 1 1;
        TaskLocalFuture<u8, NotSync>:           1 0 1 1 0;
        TaskLocalFuture<u8, NotSend>:           0 0 1 1 1;
        TaskLocalFuture<u8, PhantomPinned>:     1 1 0 1 1;
        AccessError:                            1 1 1 1 1;
        Carried<u8>:                            1 1 1 1 1;
        Carried<NotSync>:                       1 0 1 1 0;
        Carried<NotSend>:                       0 0 1 1 1;
        Carried<PhantomPinned>:                 1 1 0 1 1;

        channel::Sender<u8>:                    1 1 1 1 1;
        channel::Sender<NotSend>:               0 0 1 1 1;
        channel::Receiver<u8>:                  1 1 1 1 1;
        channel::Receiver<NotSend>:             0 0 1 1 1;
        channel::SendError<u8>:                 1 1 1 1 1;
        channel::SendError<NotSend>:            0 0 1 1 1;

        shim::JoinHandle<u8>:                   1 1 1 1 1;
        shim::JoinHandle<NotSync>:              1 1 1 1 1;
        shim::JoinHandle<NotSend>:              0 0 1 1 1;
        companion::AlreadyRegistered:           1 1 1 1 1;
        #[cfg(feature = "tracing")]
        bridge::tracing::CurrentSpan:           1 1 1 1 1;
        #[cfg(feature = "tracing")]
        bridge::tracing::CurrentDispatch:       1 1 1 1 1;
        #[cfg(feature = "tracing-subscriber")]
        bridge::tracing_subscriber::Text<u8>:   1 1 1 0 0;
        #[cfg(feature = "tracing-subscriber")]
        bridge::tracing_subscriber::Json<u8>:   1 1 1 0 0;
        #[cfg(feature = "tracing-subscriber")]
        bridge::tracing_subscriber::SpanFields<u8>: 1 1 1 0 0;
        #[cfg(feature = "log")]
        bridge::log::Logger<u8>:                1 1 1 0 0;

        Fields:                                 1 1 1 0 0;
        FieldValue<'static>:                    0 0 1 0 0;
        propagation::Propagator:                1 1 1 0 0;
        propagation::Extracted:                 1 1 1 1 1;
        propagation::Problem:                   1 1 1 1 1;
        propagation::ProblemKind:               1 1 1 1 1;

        shim::AbortHandle:                      1 1 1 0 0;
        shim::DoneCallbackId:                   1 1 1 1 1;
        shim::JoinError:                        1 1 1 1 1;
        shim::JoinSet<u8>:                      1 1 1 1 1;
        shim::JoinSet<NotSync>:                 1 1 1 1 1;
        shim::JoinSet<NotSend>:                 0 0 1 1 1;
        shim::TaskId:                           1 1 1 1 1;
        shim::TaskGroup<u8>:                    1 1 1 1 1;
        shim::TaskGroup<NotSync>:               1 1 1 1 1;
        shim::TaskGroup<NotSend>:               0 0 1 1 1;
        shim::TaskGroupError<u8>:               1 1 1 1 1;
        shim::TaskGroupError<NotSend>:          0 0 1 1 1;
        shim::TaskFailure<u8>:                  1 1 1 1 1;
        shim::TaskFailure<NotSend>:             0 0 1 1 1;
        shim::Runner:                           0 0 1 0 0;
        shim::BlockOnError:                     1 1 1 1 1;
        shim::CallHandle:                       1 1 1 0 0;
        shim::TimerHandle:                      1 1 1 0 0;
        shim::CallError:                        1 0 1 0 0;
        shim::ExceptionHandler:                 1 1 1 0 0;
        shim::NoRuntime:                        1 1 1 1 1;
        shim::Runnable:                         1 1 1 1 1;
        shim::LocalRunnable:                    0 0 1 1 1;
        shim::Job:                              1 1 1 1 1;
        shim::EnterGuard<'static>:              0 0 1 0 0;
        shim::ContextAwareExecutor<u8>:         1 1 1 1 1;
        shim::ContextAwareExecutor<NotSend>:    0 0 1 1 1;
        shim::FromSchedule:                     1 1 1 0 0;
        shim::Sleep:                            1 0 1 0 0;
        shim::Timeout<Ready<()>>:               1 0 1 0 0;
        shim::Timeout<PhantomPinned>:           1 0 0 0 0;
        shim::Elapsed:                          1 1 1 1 1;
        shim::YieldNow:                         1 1 1 1 1;

        event_loop::EventLoop:                  0 0 1 0 0;
        event_loop::LoopHandle:                 1 1 1 0 0;
        event_loop::SlowCallback:               1 1 1 1 1;
        #[cfg(feature = "ctrl-c")]
        event_loop::CtrlCError:                 1 1 1 0 0;

        shim::thread::Builder:                  1 1 1 1 1;
        shim::thread::Scope<'static, 'static>:  1 1 1 1 1;
        #[cfg(feature = "async-std")]
        shim::async_std::Global:                1 1 1 1 1;
        #[cfg(feature = "async-std")]
        shim::async_std::Local:                 1 1 1 1 1;
        #[cfg(feature = "rayon")]
        shim::rayon::Pool<'static>:             1 1 1 0 0;
        #[cfg(feature = "rayon")]
        shim::rayon::Scope<'static, 'static>:   1 1 1 0 0;
        #[cfg(feature = "smol")]
        shim::smol::Global:                     1 1 1 1 1;
        #[cfg(feature = "tower")]
        shim::tower::ContextLayer:              1 1 1 1 1;
        #[cfg(feature = "tower")]
        shim::tower::ContextLayer<NotSend>:     0 0 1 1 1;
        #[cfg(feature = "tower")]
        shim::tower::ContextService<u8>:        1 1 1 1 1;
        #[cfg(feature = "tower")]
        shim::tower::ContextService<NotSend>:   0 0 1 1 1;
        #[cfg(feature = "tower")]
        shim::tower::Inherit:                   1 1 1 1 1;
        #[cfg(feature = "tower")]
        shim::tower::CarryLayer:                1 1 1 1 1;
        #[cfg(feature = "tower")]
        shim::tower::CarryService<u8>:          1 1 1 1 1;
        #[cfg(feature = "tower")]
        shim::tower::RestoreLayer:              1 1 1 1 1;
        #[cfg(feature = "tower")]
        shim::tower::RestoreService<NotSend>:   0 0 1 1 1;
        #[cfg(all(feature = "tower", feature = "http-body"))]
        shim::tower::HttpContextLayer:          1 1 1 0 0;
        #[cfg(all(feature = "tower", feature = "http-body"))]
        shim::tower::HttpContextLayer<NotSend>: 0 0 1 0 0;
        #[cfg(all(feature = "tower", feature = "http-body"))]
        shim::tower::HttpContextService<u8>:    1 1 1 0 0;
        #[cfg(all(feature = "tower", feature = "http-body"))]
        shim::tower::HttpContextFuture<u8>:     1 1 1 1 1;
        #[cfg(all(feature = "tower", feature = "http-body"))]
        shim::tower::HttpContextFuture<PhantomPinned>:1 1 0 1 1;
        #[cfg(all(feature = "tower", feature = "http"))]
        shim::tower::InjectLayer:               1 1 1 0 0;
        #[cfg(all(feature = "tower", feature = "http"))]
        shim::tower::InjectService<u8>:         1 1 1 0 0;
    }
}

#[test]
fn types_keep_their_auto_traits() {
    check(&types());
}

#[test]
fn every_public_type_has_a_row() {
    public_types::check(types().iter().map(|row| row.name), &[]);
}

#[test]
#[rustfmt::skip]
fn what_functions_return_keeps_its_auto_traits() {
    let mut set = shim::JoinSet::<u8>::new();
    check(&values! {
        // Send Sync Unpin UnwindSafe RefUnwindSafe
        Carried::new(1).scope(|_| std::future::ready(())) => 1 1 1 1 1;
        Context::new().bind(|| ()) => 1 1 1 1 1;
        Context::new().bind_mut(|()| ()) => 1 1 1 1 1;
        Context::new().bind_fn(|()| ()) => 1 1 1 1 1;
        shim::bind(|| ()) => 1 1 1 1 1;
        shim::bind_mut(|()| ()) => 1 1 1 1 1;
        shim::bind_fn(|()| ()) => 1 1 1 1 1;
        set.join_next() => 1 1 0 0 1;
        set.shutdown() => 1 1 0 0 1;
        shim::JoinSet::<u8>::new().join_all() => 1 1 0 0 1;
        shim::TaskGroup::<u8>::new().join() => 1 1 0 1 1;
        shim::TaskGroup::<u8>::scope(async |_| Ok(())) => 1 0 0 0 0;
    });
}

#[test]
fn futures_of_channels_go_to_other_threads_with_their_messages() {
    macro_rules! check {
        ($sent:literal: $($value:expr),* $(,)?) => {$({
            let phantom = type_of($value);
            let found = [implements!(phantom, Send), implements!(phantom, Sync)];
            assert_eq!(found, [$sent; 2], stringify!($value));
        })*};
    }
    {
        use futures::channel::mpsc;

        let (mut sender, mut receiver) = channel::carrying(mpsc::channel::<Carried<u8>>(1));
        check!(true: sender.send(1), receiver.recv(), receiver.run(async |_| ()));
        let (mut sender, mut receiver) = channel::carrying(mpsc::unbounded::<Carried<u8>>());
        check!(true: sender.send(1), receiver.recv(), receiver.run(async |_| ()));
        let (mut sender, mut receiver) = channel::carrying(mpsc::channel::<Carried<NotSend>>(1));
        check!(false: sender.send(Rc::new(1)), receiver.recv(), receiver.run(async |_| ()));
    }
    #[cfg(feature = "async-channel")]
    {
        let (sender, mut receiver) = channel::carrying(async_channel::bounded::<Carried<u8>>(1));
        check!(true: sender.send(1), receiver.recv(), receiver.run(async |_| ()));
    }
    #[cfg(feature = "tokio")]
    {
        use tokio::sync::mpsc;

        let (sender, mut receiver) = channel::carrying(mpsc::channel::<Carried<u8>>(1));
        let timed = |message| sender.send_timeout(message, std::time::Duration::ZERO);
        check!(true: sender.send(1), timed(1), receiver.recv(), receiver.run(async |_| ()));
        let (_, mut receiver) = channel::carrying(mpsc::unbounded_channel::<Carried<u8>>());
        check!(true: receiver.recv(), receiver.run(async |_| ()));
    }
}

#[test]
fn cv_11_variables_tokens_and_guards_are_not_cloned() {
    macro_rules! clones {
        ($type:ty) => {
            implements!(PhantomData::<$type>, Clone)
        };
    }
    // A clone of a variable would be another variable, and one of a token would work twice (TK-01,
    // TK-04).
    assert!(!clones!(ContextVar<u8>) && !clones!(ContextVar<u8, WithDefault>));
    assert!(!clones!(Token<u8>) && !clones!(Scoped<'static, u8>));
    assert!(!implements!(PhantomData::<Token<u8>>, PartialEq));
    assert!(!implements!(PhantomData::<Token<u8>>, std::hash::Hash));
    assert!(clones!(Context) && clones!(SharedContext));
}
