//! A subscriber that records which span each event is in, and which spans are closed.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    /// The message, and the names of the spans from the root on.
    events: Vec<(String, Vec<&'static str>)>,
    closed: Vec<&'static str>,
    open: usize,
}

impl Recorder {
    /// The recorder, and a subscriber of its own.
    pub(crate) fn new() -> (Recorder, Dispatch) {
        let recorder = Recorder::default();
        let subscriber = Registry::default().with(recorder.clone());
        (recorder, Dispatch::new(subscriber))
    }

    /// The events so far, sorted, with their spans.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        let mut recorded = self.0.lock().unwrap();
        let events = std::mem::take(&mut recorded.events);
        let mut events: Vec<_> = events
            .into_iter()
            .map(|(message, spans)| (message, spans.join("/")))
            .collect();
        events.sort();
        events
    }

    /// Waits until all spans are closed: what a worker is about to drop may keep one a little longer
    /// than the work of a test takes.
    pub(crate) fn all_are_closed(&self) {
        let start = Instant::now();
        while self.0.lock().unwrap().open > 0 {
            assert!(start.elapsed() < Duration::from_secs(30), "{self:?}");
            thread::yield_now();
        }
    }

    /// The names of the spans that were closed since this was called last.
    pub(crate) fn closed(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap().closed)
    }
}

struct Message(String);

impl tracing::field::Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.0.lock().unwrap().open += 1;
    }

    fn on_record(&self, _: &Id, _: &Record<'_>, _: Context<'_, S>) {}

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let spans = context.event_scope(event).into_iter();
        let spans = spans.flat_map(|scope| scope.from_root().map(|span| span.name()));
        let spans = spans.collect();
        self.0.lock().unwrap().events.push((message.0, spans));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let name = context.span(&id).map(|span| span.name());
        let mut recorded = self.0.lock().unwrap();
        recorded.open -= 1;
        recorded.closed.extend(name);
    }
}
