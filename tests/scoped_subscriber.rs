//! A subscriber of a scope, in a process with a global one: what is dropped is in no span of either.

use std::sync::{Arc, Mutex};

use aiocontextvars::bridge::tracing::{CurrentDispatch, CurrentSpan};
use aiocontextvars::{companion, context_var, inherit_context};
use tracing::{Span, info_span};
use tracing_subscriber::Registry;

context_var! { static VALUE: Arc<InWhich>; }

/// Notes the span that is current where it is dropped.
struct InWhich(Arc<Mutex<Vec<Option<&'static str>>>>);

impl Drop for InWhich {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(name());
    }
}

fn name() -> Option<&'static str> {
    Span::current().metadata().map(|span| span.name())
}

#[test]
fn a_context_is_dropped_in_no_span_of_either_subscriber() {
    companion::register(CurrentDispatch).unwrap();
    companion::register(CurrentSpan).unwrap();
    tracing::subscriber::set_global_default(Registry::default()).unwrap();
    let seen = Arc::default();
    let _around = info_span!("around").entered();
    tracing::subscriber::with_default(Registry::default(), || {
        let _own = info_span!("own").entered();
        let value = Arc::new(InWhich(Arc::clone(&seen)));
        inherit_context().call(|| drop(VALUE.set(value)));
        assert_eq!(name(), Some("own"));
    });
    assert_eq!(name(), Some("around"));
    assert_eq!(*seen.lock().unwrap(), [None]);
}
