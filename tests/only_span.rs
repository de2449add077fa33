//! `CurrentSpan` as the only companion: what a layer or the program makes current in a span, and
//! layers that do not see every span.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use aiocontextvars::bridge::tracing::CurrentSpan;
use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, ContextAwareExecutor, Runnable};
use aiocontextvars::{Carried, ContextExt, companion, context_var, inherit_context};
use futures::FutureExt;
use tracing::level_filters::LevelFilter;
use tracing::span::Id;
use tracing::{Event, Span, Subscriber, debug_span, info, info_span};
use tracing_subscriber::layer::{Context as Layers, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

context_var! { static REQUEST: u64; }

fn set_up() {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| companion::register(CurrentSpan).unwrap());
}

thread_local! {
    /// What is attached on this thread, innermost last: by `Attaches` in its spans, and by hand.
    static ATTACHED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Attaches the number of a span that is entered, as OpenTelemetry's layer does with its context.
struct Attaches;

impl<S: Subscriber> Layer<S> for Attaches {
    fn on_enter(&self, id: &Id, _: Layers<'_, S>) {
        ATTACHED.with_borrow_mut(|attached| attached.push(id.into_u64()));
    }

    fn on_exit(&self, id: &Id, _: Layers<'_, S>) {
        ATTACHED.with_borrow_mut(|attached| {
            let last = attached.iter().rposition(|other| *other == id.into_u64());
            last.map(|last| attached.remove(last));
        });
    }
}

const ACTS: &[(&str, fn())] = &[
    ("a capture dropped", || drop(inherit_context())),
    ("a call", || inherit_context().call(|| ())),
    ("a call that sets", || {
        inherit_context().call(|| drop(REQUEST.set(1)));
    }),
    ("a call that sets, beside another", || {
        let kept = inherit_context();
        kept.clone().call(|| drop(REQUEST.set(1)));
    }),
    ("a bound closure", || shim::bind(|| drop(REQUEST.set(1)))()),
    ("a message dropped", || drop(Carried::new(()))),
    ("a message", || {
        Carried::new(()).run(|()| drop(REQUEST.set(1)));
    }),
    ("a future", || {
        let future = async { drop(REQUEST.set(1)) }.in_current_context();
        future.now_or_never().unwrap();
    }),
    ("a future dropped", || {
        drop(async { drop(REQUEST.set(1)) }.in_current_context());
    }),
    ("a scope", || {
        REQUEST.scope(1, async {}).now_or_never().unwrap();
    }),
    ("a scope dropped", || drop(REQUEST.scope(1, async {}))),
    ("a task that runs where it is spawned", || {
        let executor = ContextAwareExecutor::from_schedule(Runnable::run);
        executor.spawn(async { drop(REQUEST.set(1)) }).detach();
    }),
    ("a timer cancelled", || {
        let event_loop = EventLoop::new();
        event_loop
            .call_later(Duration::from_secs(1), || ())
            .cancel();
    }),
];

fn act_in_a_span() {
    const BY_HAND: u64 = u64::MAX;
    for (what, act) in ACTS {
        info_span!("request").in_scope(|| {
            ATTACHED.with_borrow_mut(|attached| attached.push(BY_HAND));
            let before = ATTACHED.with_borrow(Vec::clone);
            act();
            assert_eq!(ATTACHED.with_borrow(Vec::clone), before, "{what}");
            let top = ATTACHED.with_borrow_mut(Vec::pop);
            assert_eq!(top, Some(BY_HAND), "{what}");
        });
    }
    assert!(ATTACHED.with_borrow(Vec::is_empty));
}

#[test]
fn what_is_attached_by_hand_inside_of_a_span_stays_on_top() {
    set_up();
    let subscriber = Registry::default().with(Attaches);
    tracing::subscriber::with_default(subscriber, act_in_a_span);
}

#[test]
fn so_it_does_in_a_task_that_is_in_a_span() {
    set_up();
    let subscriber = Registry::default().with(Attaches);
    tracing::subscriber::with_default(subscriber, || {
        let event_loop = EventLoop::new();
        let task = info_span!("task").in_scope(|| event_loop.spawn(async { act_in_the_task() }));
        event_loop.run_until_complete(task).unwrap();
    });
}

/// In the span of the task itself, where captures share what the task has captured.
fn act_in_the_task() {
    let task = ATTACHED.with_borrow(Vec::clone);
    assert_eq!(task.len(), 1);
    for (what, act) in ACTS {
        ATTACHED.with_borrow_mut(|attached| attached.push(u64::MAX));
        let before = ATTACHED.with_borrow(Vec::clone);
        act();
        assert_eq!(ATTACHED.with_borrow(Vec::clone), before, "{what}");
        ATTACHED.with_borrow_mut(Vec::pop);
    }
    assert_eq!(ATTACHED.with_borrow(Vec::clone), task);
}

/// Notes the span of each event.
#[derive(Clone, Default)]
struct SpansOfEvents(Arc<Mutex<Vec<Option<&'static str>>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpansOfEvents {
    fn on_event(&self, event: &Event<'_>, layers: Layers<'_, S>) {
        let span = layers.event_span(event).map(|span| span.name());
        self.0.lock().unwrap().push(span);
    }
}

#[test]
fn a_layer_that_leaves_a_span_out_finds_none_and_not_anothers() {
    set_up();
    let filtered = SpansOfEvents::default();
    let all = SpansOfEvents::default();
    let subscriber = Registry::default()
        .with(filtered.clone().with_filter(LevelFilter::INFO))
        .with(all.clone());
    tracing::subscriber::with_default(subscriber, || {
        let (message, context) =
            debug_span!("two").in_scope(|| (Carried::new(()), inherit_context()));
        let inline = ContextAwareExecutor::from_schedule(Runnable::run);
        info_span!("one").in_scope(|| {
            message.run(|()| info!("a message"));
            context.call(|| info!("a call"));
            inline.spawn_in(context, async { info!("a task") }).detach();
            info!("its own");
            assert_eq!(Span::current().metadata().unwrap().name(), "one");
        });
    });
    let names = |spans: SpansOfEvents| spans.0.lock().unwrap().clone();
    assert_eq!(names(filtered), [None, None, None, Some("one")]);
    assert_eq!(
        names(all),
        [Some("two"), Some("two"), Some("two"), Some("one")]
    );
}
