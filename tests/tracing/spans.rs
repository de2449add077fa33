//! The current span.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiocontextvars::ContextExt;
use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, ContextAwareExecutor, Runnable, Runner};
use aiocontextvars::{
    Carried, Context, ContextVar, channel, context_var, copy_context, inherit_context,
};
use futures::channel::{mpsc, oneshot};
use tracing::span::Id;
use tracing::{Instrument, Span, Subscriber, info, info_span};
use tracing_subscriber::layer::{Context as Layers, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::recorder::Recorder;
use super::set_up;

context_var! { static REQUEST: u64; }

/// Runs `test` with a recorder, and checks that no span is left open or current.
fn recorded(test: impl FnOnce(&Recorder)) {
    set_up();
    let (recorder, dispatch) = Recorder::new();
    tracing::dispatcher::with_default(&dispatch, || {
        test(&recorder);
        assert!(Span::current().is_none());
    });
    recorder.all_are_closed();
}

fn owned<const N: usize>(events: [(&str, &str); N]) -> [(String, String); N] {
    events.map(|(event, spans)| (event.to_owned(), spans.to_owned()))
}

/// Every hop there is, from inside a span, and what it finds there.
pub(crate) async fn hops() {
    info!("main");
    let (told, tells) = oneshot::channel();
    let task = shim::spawn(async {
        shim::yield_now().await;
        info!("task");
        shim::spawn(async { info!("grandchild") }).await.unwrap();
    });
    shim::call_soon(move || {
        info!("callback");
        shim::call_later(Duration::from_micros(1), move || {
            info!("timer");
            told.send(()).unwrap();
        });
    });
    task.await.unwrap();
    tells.await.unwrap();
    shim::spawn_blocking(|| info!("job")).await.unwrap();
    shim::thread::spawn(|| info!("thread")).join().unwrap();
    let bound = shim::bind(|| info!("bound"));
    std::thread::spawn(bound).join().unwrap();
    let (sender, mut receiver) = channel::carrying(mpsc::unbounded());
    sender.unbounded_send("message").unwrap();
    drop(sender);
    let actor = shim::spawn_in(Context::new(), async move {
        receiver.run(async |text| info!("{text}")).await;
    });
    actor.await.unwrap();
    Carried::new(()).run(|()| info!("carried"));
}

/// Their events in the order of the alphabet, which are in this span.
pub(crate) fn all_in(span: &str) -> Vec<(String, String)> {
    let hops = [
        "bound",
        "callback",
        "carried",
        "grandchild",
        "job",
        "main",
        "message",
        "task",
        "thread",
        "timer",
    ];
    hops.map(|hop| (hop.to_owned(), span.to_owned())).to_vec()
}

fn on_the_event_loop() -> impl FnMut(futures::future::BoxFuture<'static, ()>) {
    |future| EventLoop::new().run_until_complete(future)
}

fn follows(mut run: impl FnMut(futures::future::BoxFuture<'static, ()>)) {
    recorded(|recorder| {
        let request = info_span!("request");
        run(Box::pin(hops().instrument(request)));
        assert_eq!(recorder.events(), all_in("request"));
        recorder.all_are_closed();
        assert_eq!(recorder.closed(), ["request"]);
        // In a span around, and a second time where nothing is.
        info_span!("outer").in_scope(|| run(Box::pin(hops())));
        run(Box::pin(hops()));
        let mut both = [all_in("outer"), all_in("")].concat();
        both.sort();
        assert_eq!(recorder.events(), both);
    });
}

#[test]
fn every_hop_on_the_event_loop() {
    follows(on_the_event_loop());
}

#[cfg(feature = "tokio")]
#[test]
fn every_hop_on_tokio() {
    let current = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
    };
    follows(move |future| current().unwrap().block_on(future));
    let multi = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_time()
            .build()
    };
    follows(move |future| multi().unwrap().block_on(future));
}

#[cfg(feature = "smol")]
#[test]
fn every_hop_on_smol() {
    follows(|future| shim::smol::block_on(async { shim::smol::spawn(future).await.unwrap() }));
}

#[cfg(feature = "async-std")]
#[test]
fn every_hop_on_async_std() {
    follows(|future| {
        shim::async_std::block_on(async { shim::async_std::spawn(future).await.unwrap() })
    });
}

#[cfg(feature = "rayon")]
#[test]
fn jobs_of_rayon() {
    use rayon::prelude::*;
    recorded(|recorder| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(2)
            .build()
            .unwrap();
        info_span!("request").in_scope(|| {
            shim::rayon::on(&pool).join(|| info!("left"), || info!("right"));
            let items = [1].par_iter().in_current_context();
            items.for_each(|_| info!("item"));
        });
        pool.broadcast(|_| assert!(Span::current().is_none()));
        let expected = ["item", "left", "right"].map(|hop| (hop.to_owned(), "request".to_owned()));
        assert_eq!(recorder.events(), expected);
    });
}

#[test]
fn work_that_runs_in_another_span_is_in_its_own() {
    recorded(|recorder| {
        // Runs each step inside the call that wakes the task.
        let executor = ContextAwareExecutor::from_schedule(|step: Runnable| {
            step.run();
        });
        // With this subscriber, and no span.
        let apart = inherit_context();
        let outer = info_span!("outer");
        outer.in_scope(|| {
            let inherited = shim::bind(|| info!("again in the outer"));
            info_span!("inner").in_scope(|| {
                inherited();
                executor
                    .spawn_in(apart, async { info!("in none") })
                    .detach();
                info!("in the inner");
            });
            info!("back in the outer");
        });
        let expected = [
            ("again in the outer", "outer"),
            ("back in the outer", "outer"),
            ("in none", ""),
            ("in the inner", "outer/inner"),
        ];
        assert_eq!(recorder.events(), owned(expected));
    });
}

#[test]
fn work_that_runs_deep_in_other_spans_is_in_its_own() {
    fn within(depth: u32, span: impl Fn() -> Span + Copy, f: &mut dyn FnMut()) {
        match depth {
            0 => f(),
            _ => span().in_scope(|| within(depth - 1, span, f)),
        }
    }
    recorded(|recorder| {
        let apart = inherit_context();
        let own = info_span!("own").in_scope(inherit_context);
        let outer = info_span!("outer");
        let runs = &mut || {
            apart.call(|| info!("in none"));
            own.call(|| info!("in its own"));
        };
        within(1_000, || info_span!("request"), runs);
        // One and the same, entered within itself.
        within(900, || outer.clone(), runs);
        drop((apart, own));
        let expected = [
            ("in its own", "own"),
            ("in its own", "own"),
            ("in none", ""),
            ("in none", ""),
        ];
        assert_eq!(recorder.events(), owned(expected));
    });
}

/// What happened to which span, and the request that was found.
type Noted = (String, Option<u64>);

/// Notes which request a layer finds when it hears of a span, and sets another if it is to.
#[derive(Clone, Default)]
struct Requests {
    noted: Arc<Mutex<Vec<Noted>>>,
    sets: Arc<AtomicBool>,
}

impl Requests {
    fn note<S>(&self, what: &str, id: &Id, layers: Layers<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let span = layers.span(id).unwrap().name();
        let mut noted = self.noted.lock().unwrap();
        noted.push((format!("{what} {span}"), REQUEST.get()));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Requests {
    fn on_enter(&self, id: &Id, layers: Layers<'_, S>) {
        self.note("enter", id, layers);
    }

    fn on_exit(&self, id: &Id, layers: Layers<'_, S>) {
        self.note("exit", id, layers);
        // It stays neither here nor in the context that is being entered.
        if self.sets.load(Relaxed) && REQUEST.get() == Some(1) {
            REQUEST.set(9);
        }
    }

    fn on_close(&self, id: Id, layers: Layers<'_, S>) {
        self.note("close", &id, layers);
    }
}

#[test]
fn layers_hear_of_a_span_in_the_context_of_its_request() {
    set_up();
    let requests = Requests::default();
    let subscriber = Registry::default().with(requests.clone());
    tracing::subscriber::with_default(subscriber, || {
        let in_none = inherit_context();
        let of = |request, name| {
            // The span is entered by its context only.
            let span = || match name {
                "one" => info_span!("one"),
                _ => info_span!("two"),
            };
            let context = Context::new().with_value(&REQUEST, request);
            context.call(|| span().in_scope(|| (inherit_context(), Carried::new(()))))
        };
        let (one, _) = of(1, "one");
        let (two, message) = of(2, "two");
        let (_, unread) = of(2, "two");
        let none = Context::new().with_value(&REQUEST, 3);
        requests.noted.lock().unwrap().clear();
        let inline = ContextAwareExecutor::from_schedule(Runnable::run);
        one.call(|| {
            requests.sets.store(true, Relaxed);
            message.run(|()| assert_eq!(REQUEST.get(), Some(2)));
            two.call(|| two.call(|| ()));
            for _ in 0..3 {
                in_none.call(|| two.call(|| ()));
            }
            drop(unread);
            inline
                .spawn_in(none, async { assert_eq!(REQUEST.get(), Some(3)) })
                .detach();
            let event_loop = EventLoop::new();
            let task = event_loop.spawn_in(two.clone(), async { shim::yield_now().await });
            event_loop.run_until_complete(async { task.await.unwrap() });
            inline
                .spawn_in(two, async { shim::yield_now().await })
                .detach();
            requests.sets.store(false, Relaxed);
        });
        drop(one);
    });
    let noted = requests.noted.lock().unwrap();
    let count = |what| noted.iter().filter(|(noted, _)| noted == what).count();
    assert!(count("exit one") > 5);
    assert_eq!(count("enter one"), count("exit one"));
    for (what, request) in noted.iter() {
        let expected = if what.ends_with("one") { 1 } else { 2 };
        assert_eq!(*request, Some(expected), "{what} of {noted:?}");
    }
}

#[test]
fn a_span_that_is_left_for_good_meanwhile_is_not_entered_again() {
    recorded(|_| {
        let nobody = inherit_context();
        let outer = info_span!("outer").entered();
        let inner = info_span!("inner").entered();
        nobody.call(move || drop(inner));
        assert_eq!(Span::current().metadata().unwrap().name(), "outer");
        drop(outer);
    });
}

/// Panics where a span is entered, once it is armed.
#[derive(Clone, Default)]
struct Panics(Arc<AtomicBool>);

impl<S: Subscriber> Layer<S> for Panics {
    fn on_enter(&self, _: &Id, _: Layers<'_, S>) {
        if self.0.load(Relaxed) {
            panic::resume_unwind(Box::new("a layer"));
        }
    }
}

#[test]
fn a_layer_that_panics_while_the_work_unwinds_ends_no_process() {
    set_up();
    let panics = Panics::default();
    let subscriber = Registry::default().with(panics.clone());
    tracing::subscriber::with_default(subscriber, || {
        let nobody = inherit_context();
        let work = || {
            panics.0.store(true, Relaxed);
            panic::resume_unwind(Box::new("the work"));
        };
        let run = || info_span!("outer").in_scope(|| nobody.call(work));
        let payload = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"the work"));
        assert!(Span::current().is_none());
    });
}

/// What it captures is everybody's: also the subscriber is that of all.
#[test]
fn a_default_is_in_the_readers_span_and_captures_none() {
    fn is_nowhere() -> bool {
        info!("of nobody");
        Span::current().is_none()
    }
    recorded(|recorder| {
        let base = ContextVar::<Context>::with_default("base", || {
            info!("default");
            assert!(shim::bind(is_nowhere)());
            let spawned = async { shim::spawn(async { is_nowhere() }).await };
            assert!(EventLoop::new().run_until_complete(spawned).unwrap());
            inherit_context()
        });
        info_span!("request").in_scope(|| assert!(base.get().call(is_nowhere)));
        assert_eq!(recorder.closed(), ["request"]);
        info_span!("other").in_scope(|| assert!(base.get().call(is_nowhere)));
        let computed = ("default".to_owned(), "request".to_owned());
        assert_eq!(recorder.events(), [computed]);
    });
}

#[test]
fn destructors_of_aborted_work_are_in_its_span() {
    struct Tells;
    impl Drop for Tells {
        fn drop(&mut self) {
            info!("dropped with {:?}", REQUEST.get());
        }
    }
    recorded(|recorder| {
        EventLoop::new().run_until_complete(async {
            REQUEST.set(7);
            let tells = Tells;
            let task = info_span!("request").in_scope(|| {
                shim::spawn(async move {
                    let _tells = tells;
                    std::future::pending::<()>().await;
                })
            });
            shim::yield_now().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            assert_eq!(recorder.closed(), ["request"]);
        });
        let dropped = ("dropped with Some(7)".to_owned(), "request".to_owned());
        assert_eq!(recorder.events(), [dropped]);
    });
}

#[test]
fn no_span_stays_open_by_what_is_kept() {
    recorded(|recorder| {
        let mut runner = Runner::new();
        let kept = info_span!("request").in_scope(|| {
            let inherited = inherit_context();
            let alone = inherited.clone().without_companions();
            let task = runner.run(async {
                let task = shim::spawn(async { info!("task") });
                while !task.is_finished() {
                    shim::yield_now().await;
                }
                (task,)
            });
            (task, alone, copy_context(), inherited.share())
        });
        assert_eq!(recorder.closed(), ["request"]);
        assert_eq!(
            recorder.events(),
            [("task".to_owned(), "request".to_owned())]
        );
        drop((kept, runner));
    });
}

#[test]
fn a_panic_leaves_no_span() {
    recorded(|recorder| {
        EventLoop::new().run_until_complete(async {
            let task = info_span!("request").in_scope(|| {
                shim::spawn(async {
                    shim::yield_now().await;
                    std::panic::resume_unwind(Box::new("on purpose"));
                })
            });
            let error = task.await.unwrap_err();
            assert!(error.is_panic() && Span::current().is_none());
            info!("after");
        });
        assert_eq!(recorder.events(), [("after".to_owned(), String::new())]);
        assert_eq!(recorder.closed(), ["request"]);
    });
}
