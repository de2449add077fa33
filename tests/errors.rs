//! What the errors say, keep and give back.

use std::error::Error;
use std::panic::{self, AssertUnwindSafe, Location};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, CallError, JoinError, TaskFailure, TaskGroup};
use aiocontextvars::{SharedContext, context_var, copy_context};

context_var! {
    static ID: u64;
    static OTHER: u64;
}

/// The error of a task that ends by a panic with this payload, in silence: the panic hook is not
/// called.
fn panicked<T: Send + 'static>(payload: T) -> JoinError {
    let task = async move { panic::resume_unwind(Box::new(payload)) };
    shim::block_on(async { shim::spawn(task).await }).unwrap_err()
}

fn cancelled() -> JoinError {
    let task = async {
        let task = shim::spawn(std::future::pending::<()>());
        task.abort();
        task.await
    };
    shim::block_on(task).unwrap_err()
}

#[test]
fn of_a_token_that_does_not_fit() {
    ID.set(1);
    let error = OTHER.reset(ID.set(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the token of context variable `ID` was given to a different variable"
    );
    let debug = "ResetError { kind: DifferentVar, token: Token { var: \"ID\", old_value: <redacted>, .. } }";
    assert_eq!(format!("{error:?}"), debug);
    let token = error.into_token();
    let error = copy_context().run(|| ID.reset(token)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the token of context variable `ID` was created in a different context; reset it where it was \
         made, or use `scoped` or `scope` instead"
    );
    ID.reset(error.into_token()).unwrap();
    assert_eq!(ID.get(), Some(1));
}

#[test]
fn of_a_task_that_panicked() {
    let texts = [
        (panicked("a literal"), "a literal"),
        (panicked("a string".to_owned()), "a string"),
        (panicked(7_u8), "a panic without a message"),
    ];
    for (error, text) in texts {
        assert_eq!(error.to_string(), format!("the task panicked: {text}"));
        let debug = format!("JoinError::Panicked(\"the task panicked: {text}\")");
        assert_eq!(format!("{error:?}"), debug);
        assert!(error.source().is_none());
        assert_eq!((error.is_panic(), error.is_cancelled()), (true, false));
    }
    assert_eq!(panicked(7_u8).into_panic().downcast_ref(), Some(&7_u8));
}

#[test]
fn of_a_task_that_was_cancelled() {
    let error = cancelled();
    assert_eq!(error.to_string(), "the task was cancelled");
    assert_eq!(format!("{error:?}"), "JoinError::Cancelled");
    assert_eq!((error.is_panic(), error.is_cancelled()), (false, true));
    let error = error.try_into_panic().unwrap_err();
    assert!(error.is_cancelled());
    let payload = panic::catch_unwind(AssertUnwindSafe(|| error.into_panic())).unwrap_err();
    let text = payload.downcast_ref::<&str>().unwrap();
    assert!(
        text.contains("into_panic` was called on a task that was cancelled"),
        "{text}"
    );
}

#[test]
fn in_a_message_they_are_readable() {
    let elapsed = shim::block_on(shim::timeout(Duration::ZERO, std::future::pending::<()>()));
    assert_eq!(format!("{elapsed:?}"), "Err(Elapsed)");
    let shared = SharedContext::new();
    let entered = shared.run(|| shared.run(|| ())).unwrap();
    assert_eq!(format!("{entered:?}"), "Err(AlreadyEntered)");
}

#[test]
fn of_a_group() {
    let group = TaskGroup::<&str>::default();
    shim::block_on(async {
        let failed = group.spawn(async { panic::resume_unwind(Box::new("first")) });
        assert_eq!(failed.await.unwrap(), None::<()>);
        let error = group.join().await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("1 task of the group failed: the task panicked: first"),
            "{text}"
        );
        assert!(error.source().is_none());
        let TaskFailure::Panic(first) = &error.failures()[0] else {
            panic!("{error}");
        };
        assert!(first.is_panic());
    });
}

#[test]
fn of_a_callback_that_panicked() {
    type Seen = (
        &'static Location<'static>,
        String,
        String,
        bool,
        Option<u64>,
    );
    let seen = Arc::new(Mutex::new(Vec::<Seen>::new()));
    let log = Arc::clone(&seen);
    shim::set_exception_handler(move |error: &CallError| {
        assert!(error.source().is_none());
        let payload = error.payload().is::<&str>();
        let texts = (error.message().to_owned(), format!("{error} {error:?}"));
        let row = (error.location(), texts.0, texts.1, payload, ID.get());
        log.lock().unwrap().push(row);
    });
    let line = line!() + 5;
    // Not by the executor that is found, which may have threads of its own.
    EventLoop::new().run_until_complete(async {
        ID.set(1);
        let own = Location::caller().file();
        shim::call_soon(|| panic::resume_unwind(Box::new("on purpose")));
        shim::call_soon(|| panic::resume_unwind(Box::new("text".to_owned())));
        ID.set(2);
        shim::yield_now().await;
        let seen = seen.lock().unwrap();
        let rows = [("on purpose", true, line), ("text", false, line + 1)];
        assert_eq!(seen.len(), rows.len());
        for (seen, (message, is_literal, line)) in seen.iter().zip(rows) {
            let (location, text, shown, payload, id) = seen;
            assert_eq!((location.file(), location.line()), (own, line));
            assert_eq!(
                (text.as_str(), *payload, *id),
                (message, is_literal, Some(1))
            );
            let display = format!("the callback scheduled at {location} panicked: {message}");
            assert!(shown.starts_with(&display), "{shown}");
            let debug = format!(" CallError {{ location: {location}, message: {message:?}, .. }}");
            assert!(shown.ends_with(&debug), "{shown}");
        }
    });
}

/// What a process prints of a callback that panics, with no handler or this one.
fn printed_of_a_callback(handler: &str) -> String {
    let own = std::env::current_exe().unwrap();
    let mut child = Command::new(own);
    child.args(["--exact", "of_a_callback_without_a_handler", "--nocapture"]);
    let output = child.env(CHILD, handler).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The handler that a child process is to set.
const CHILD: &str = "AIOCONTEXTVARS_TEST_HANDLER";

#[test]
fn of_a_callback_without_a_handler() {
    let panics = || panic::resume_unwind(Box::new("on purpose"));
    match std::env::var(CHILD).as_deref() {
        Err(_) => {
            let text = "aiocontextvars: the callback scheduled at tests/errors.rs:";
            for (handler, is_printed) in [("none", true), ("handles", false), ("panics", true)] {
                let printed = printed_of_a_callback(handler);
                assert_eq!(printed.contains(text), is_printed, "{handler}: {printed}");
                assert_eq!(printed.contains("on purpose"), is_printed, "{handler}");
            }
            return;
        }
        Ok("handles") => drop(shim::set_exception_handler(|_| ())),
        Ok("panics") => drop(shim::set_exception_handler(move |_| panics())),
        Ok(_) => {}
    }
    EventLoop::new().run_until_complete(async {
        shim::call_soon(panics);
        shim::yield_now().await;
    });
}

#[test]
fn without_an_executor() {
    let tokio = cfg!(feature = "tokio");
    let smol = cfg!(feature = "smol");
    let async_std = cfg!(feature = "async-std");
    match shim::try_spawn(async { 1 }) {
        // A global executor that is the only one.
        Ok(task) => {
            assert!(!tokio && smol != async_std);
            assert_eq!(futures::executor::block_on(task).unwrap(), 1);
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("no executor here: "), "{text}");
            let any = tokio || smol || async_std;
            let several = smol && async_std || tokio && (smol || async_std);
            assert_eq!(text.contains("several runtimes"), several, "{text}");
            assert_eq!(text.contains("that add runtimes"), !any, "{text}");
            assert!(error.source().is_none());
        }
    }
}

/// The process has a handler for Ctrl-C from here on, which ends it as no handler would.
#[cfg(feature = "ctrl-c")]
#[test]
fn of_a_loop_that_cannot_stop_on_ctrl_c() {
    ctrlc::set_handler(|| std::process::exit(130)).unwrap();
    let event_loop = EventLoop::new();
    let error = event_loop.stop_on_ctrl_c().unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot stop the event loop on Ctrl-C: the process handles it"),
        "{text}"
    );
    let source = error.source().and_then(|source| source.downcast_ref());
    assert!(
        matches!(source, Some(ctrlc::Error::MultipleHandlers)),
        "{error:?}"
    );
    assert_eq!(event_loop.run_until_complete(async { 1 }), 1);
}
