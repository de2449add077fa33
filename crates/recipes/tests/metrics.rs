//! metrics: each request counts with a recorder of its own, which is a context variable.

#[path = "common/requests.rs"]
mod common;

use std::sync::{Arc, LazyLock};

use aiocontextvars::companion::{self, Companion};
use aiocontextvars::{Context, context_var, shim};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

static PROGRAMS: LazyLock<Arc<DebuggingRecorder>> = LazyLock::new(Arc::default);

context_var! { static RECORDER: Arc<DebuggingRecorder> = PROGRAMS.clone(); }

struct LocalRecorder;

impl Companion for LocalRecorder {
    type Value = Arc<DebuggingRecorder>;
    fn capture(&self) -> Option<Self::Value> {
        Some(RECORDER.get())
    }
    fn enter<R>(&self, recorder: &Self::Value, f: impl FnOnce() -> R) -> R {
        metrics::with_local_recorder(&**recorder, f)
    }
    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        metrics::with_local_recorder(&**PROGRAMS, f)
    }
}

#[test]
fn each_request_counts_by_itself() {
    companion::register(LocalRecorder).unwrap();
    metrics::set_global_recorder(Arc::clone(&PROGRAMS)).unwrap();
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

    // Work of no request counts with the program's, also inside of a request.
    let count = || metrics::counter!("background").increment(1);
    shim::block_on(async {
        shim::spawn(async move { count() }).await.unwrap();
        let recorder = Arc::new(DebuggingRecorder::new());
        let background = RECORDER.sync_scope(Arc::clone(&recorder), || {
            shim::bind(count)();
            shim::spawn_in(Context::new(), async move { count() })
        });
        background.await.unwrap();
        std::thread::spawn(count).join().unwrap();
        assert_eq!(counted(&recorder), 1);
    });
    assert_eq!(counted(&PROGRAMS), 3);
}

/// The counts of all counters together.
fn counted(recorder: &DebuggingRecorder) -> u64 {
    let counters = recorder.snapshotter().snapshot().into_vec();
    let count = |(_, _, _, value)| match value {
        DebugValue::Counter(count) => count,
        other => panic!("{other:?}"),
    };
    counters.into_iter().map(count).sum()
}
