//! The current subscriber: tests that run at once have all events of their own, and no others.

use aiocontextvars::shim::{self, ContextAwareExecutor, Executor, Runnable};
use aiocontextvars::{Context, copy_context, inherit_context};
use std::sync::mpsc;
use std::thread;

use tracing::dispatcher::with_default;
use tracing::{Dispatch, info, info_span};

use super::recorder::Recorder;
use super::set_up;

/// One thread that everybody's work runs on.
struct OneThread(mpsc::Sender<Runnable>);

impl OneThread {
    fn new() -> OneThread {
        let (sender, receiver) = mpsc::channel::<Runnable>();
        thread::spawn(move || receiver.into_iter().for_each(Runnable::run));
        OneThread(sender)
    }
}

impl Executor for OneThread {
    fn schedule(&self, task: Runnable) {
        let _ = self.0.send(task);
    }
}

#[test]
fn two_tests_at_once_on_one_executor() {
    set_up();
    let executor = std::sync::Arc::new(ContextAwareExecutor::new(OneThread::new()));
    let tests = ["one", "two"].map(|name| {
        let executor = std::sync::Arc::clone(&executor);
        thread::spawn(move || {
            let (recorder, dispatch) = Recorder::new();
            with_default(&dispatch, || {
                let tasks: Vec<_> = (0..50)
                    .map(|_| {
                        // The inner span is closed where the task ends, and the outer one by that.
                        let inner = info_span!("test").in_scope(|| info_span!("part"));
                        inner.in_scope(|| {
                            executor.spawn(async move {
                                shim::yield_now().await;
                                info!("{name}");
                                shim::spawn_blocking(move || info!("{name}")).await.unwrap();
                            })
                        })
                    })
                    .collect();
                for task in tasks {
                    futures::executor::block_on(task).unwrap();
                }
            });
            (name, recorder)
        })
    });
    for test in tests {
        let (name, recorder) = test.join().unwrap();
        let expected = vec![(name.to_owned(), "test/part".to_owned()); 100];
        assert_eq!(recorder.events(), expected);
        recorder.all_are_closed();
    }
}

/// Two tests on threads of their own, whose work `run` runs on a runtime that they share.
#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
fn each_has_its_own(run: impl Fn(futures::future::BoxFuture<'static, ()>) + Sync) {
    use super::spans::{all_in, hops};
    use tracing::Instrument;

    const TIMES: usize = 20;
    set_up();
    let test = |name: &'static str| {
        let (recorder, dispatch) = Recorder::new();
        with_default(&dispatch, || {
            for _ in 0..TIMES {
                let request = match name {
                    "one" => info_span!("one"),
                    _ => info_span!("two"),
                };
                run(Box::pin(hops().instrument(request)));
            }
        });
        let mut expected = vec![all_in(name); TIMES].concat();
        expected.sort();
        assert_eq!(recorder.events(), expected);
        recorder.all_are_closed();
    };
    thread::scope(|scope| {
        scope.spawn(|| test("one"));
        scope.spawn(|| test("two"));
    });
}

#[cfg(feature = "tokio")]
#[test]
fn two_tests_at_once_on_one_runtime() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_time().build().unwrap();
    each_has_its_own(|future| runtime.block_on(future));
}

#[cfg(feature = "smol")]
#[test]
fn two_tests_at_once_on_smols_global_executor() {
    each_has_its_own(|future| {
        shim::smol::block_on(async { shim::smol::spawn(future).await.unwrap() });
    });
}

#[cfg(feature = "async-std")]
#[test]
fn two_tests_at_once_on_async_std() {
    each_has_its_own(|future| {
        shim::async_std::block_on(async { shim::async_std::spawn(future).await.unwrap() });
    });
}

#[test]
fn work_of_one_that_runs_within_another_on_the_same_thread_is_its_own() {
    set_up();
    let [(one, first), (two, second)] = [(); 2].map(|()| Recorder::new());
    let inline = ContextAwareExecutor::from_schedule(|step: Runnable| {
        step.run();
    });
    let in_span = |dispatch: &Dispatch, f: &mut dyn FnMut()| {
        with_default(dispatch, || info_span!("test").in_scope(f));
    };
    in_span(&first, &mut || {
        let bound = shim::bind(|| info!("bound"));
        let inherited = inherit_context();
        in_span(&second, &mut || {
            inherited.call(|| {
                info!("called");
                inline.spawn(async { info!("spawned") }).detach();
            });
            info!("around");
            inline.spawn(async { info!("spawned") }).detach();
        });
        bound();
    });
    let of = |events: &[&str]| -> Vec<_> {
        let event = |event: &&str| ((*event).to_owned(), "test".to_owned());
        events.iter().map(event).collect()
    };
    assert_eq!(one.events(), of(&["bound", "called", "spawned"]));
    assert_eq!(two.events(), of(&["around", "spawned"]));
    one.all_are_closed();
    two.all_are_closed();
}

#[test]
fn work_that_has_captured_none_is_not_in_the_one_around() {
    set_up();
    let inline = ContextAwareExecutor::from_schedule(|step: Runnable| {
        step.run();
    });
    let (recorder, dispatch) = Recorder::new();
    let early = shim::bind(|| info!("captured outside"));
    with_default(&dispatch, || {
        early();
        inline
            .spawn_in(Context::new(), async { info!("in a context of its own") })
            .detach();
        copy_context().run(|| info!("only values are its own"));
    });
    let expected = ("only values are its own".to_owned(), String::new());
    assert_eq!(recorder.events(), [expected]);
}
