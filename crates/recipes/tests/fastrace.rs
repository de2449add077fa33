//! fastrace: a unit of work is a span of its own, whose parent is the local parent of whoever
//! started it.

#[path = "common/requests.rs"]
mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aiocontextvars::companion::{self, Companion};
use aiocontextvars::inherit_context;
use fastrace::collector::{Config, Reporter};
use fastrace::local::LocalCollector;
use fastrace::prelude::*;

struct LocalParent;

impl Companion for LocalParent {
    type Value = Span;
    fn capture(&self) -> Option<Span> {
        SpanContext::current_local_parent().map(|_| Span::enter_with_local_parent("work"))
    }
    fn enter<R>(&self, span: &Span, f: impl FnOnce() -> R) -> R {
        let _guard = span.set_local_parent();
        f()
    }
    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        let _apart = SpanContext::current_local_parent().map(|_| LocalCollector::start());
        f()
    }
}

#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<SpanRecord>>>);

impl Reporter for Spans {
    fn report(&mut self, mut spans: Vec<SpanRecord>) {
        self.0.lock().unwrap().append(&mut spans);
    }
}

#[test]
fn the_local_parent_follows_the_work() {
    companion::register(LocalParent).unwrap();
    let spans = Spans::default();
    fastrace::set_reporter(spans.clone(), Config::default());
    let request = |number: u64, work: &mut dyn FnMut()| {
        let root = Span::root("request", SpanContext::random())
            .with_property(|| ("number", number.to_string()));
        let _guard = root.set_local_parent();
        work();
    };
    let nobody = inherit_context();
    request(0, &mut || {
        nobody.call(|| {
            assert_eq!(SpanContext::current_local_parent(), None);
            drop(LocalSpan::enter_with_local_parent("nobody's"));
            drop(Span::enter_with_local_parent("nobody's"));
        });
        assert!(SpanContext::current_local_parent().is_some());
    });
    common::serve(request, |hop| drop(LocalSpan::enter_with_local_parent(hop)));
    fastrace::flush();

    let spans = spans.0.lock().unwrap();
    let by_id: HashMap<_, _> = spans.iter().map(|span| (span.span_id, span)).collect();
    let mut seen = Vec::new();
    for span in spans
        .iter()
        .filter(|span| span.name != "work" && span.name != "request")
    {
        // Up to the root, by way of the units of work.
        let mut root = by_id[&span.parent_id];
        while root.name == "work" {
            root = by_id[&root.parent_id];
        }
        assert_eq!((&*root.name, root.trace_id), ("request", span.trace_id));
        seen.push((span.name.to_string(), root.properties[0].1.parse().unwrap()));
    }
    seen.sort();
    assert_eq!(seen, common::expected());
    assert!(SpanContext::current_local_parent().is_none());
}
