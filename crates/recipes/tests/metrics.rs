//! metrics: each request counts with a recorder of its own, which is a context variable.

#[path = "common/requests.rs"]
mod common;

use std::sync::Arc;

use aiocontextvars::companion::{self, Companion};
use aiocontextvars::context_var;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

context_var! { static RECORDER: Arc<DebuggingRecorder>; }

struct LocalRecorder;

impl Companion for LocalRecorder {
    type Value = Arc<DebuggingRecorder>;
    fn capture(&self) -> Option<Arc<DebuggingRecorder>> {
        RECORDER.get()
    }
    fn enter<R>(&self, recorder: &Arc<DebuggingRecorder>, f: impl FnOnce() -> R) -> R {
        metrics::with_local_recorder(&**recorder, f)
    }
    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        metrics::with_local_recorder(&metrics::NoopRecorder, f)
    }
}

#[test]
fn each_request_counts_by_itself() {
    companion::register(LocalRecorder).unwrap();
    let recorders: Arc<Vec<_>> = Arc::new(
        (0..common::REQUESTS)
            .map(|_| Arc::new(DebuggingRecorder::new()))
            .collect(),
    );
    let snapshots: Vec<Snapshotter> = recorders.iter().map(|one| one.snapshotter()).collect();
    let request = move |number: u64, work: &mut dyn FnMut()| {
        RECORDER.sync_scope(Arc::clone(&recorders[number as usize - 1]), work);
    };
    common::serve(request, |hop| {
        metrics::counter!("hops", "hop" => hop, "request" => common::REQUEST.get().unwrap().to_string()).increment(1);
    });
    let mut seen = Vec::new();
    for (index, snapshot) in snapshots.iter().enumerate() {
        for (key, _, _, value) in snapshot.snapshot().into_vec() {
            let labels: Vec<_> = key
                .key()
                .labels()
                .map(|label| label.value().to_owned())
                .collect();
            let [hop, request] = &labels[..] else {
                panic!("{labels:?}");
            };
            let request: u64 = request.parse().unwrap();
            assert_eq!(request, index as u64 + 1);
            let DebugValue::Counter(times) = value else {
                panic!("{value:?}");
            };
            seen.extend((0..times).map(|_| (hop.clone(), request)));
        }
    }
    seen.sort();
    assert_eq!(seen, common::expected());
}
