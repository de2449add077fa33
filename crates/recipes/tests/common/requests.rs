//! Every kind of work that a request does.

use std::time::Duration;

use aiocontextvars::{ContextExt, context_var, shim};
use tokio::sync::oneshot;

context_var! { pub(crate) static REQUEST: u64; }

pub(crate) const REQUESTS: u64 = 8;
pub(crate) const HOPS: [&str; 7] = [
    "aborted", "bound", "callback", "job", "main", "task", "timer",
];

/// Calls `note` with the name of each hop of some work.
pub(crate) async fn hops(note: impl Fn(&'static str) + Clone + Send + Sync + 'static) {
    note("main");
    let of = |name| {
        let note = note.clone();
        move || note(name)
    };
    let task = of("task");
    let task = shim::spawn(async move {
        shim::yield_now().await;
        task();
    });
    let (told, tells) = oneshot::channel();
    let (callback, timer) = (of("callback"), of("timer"));
    shim::call_soon(move || {
        callback();
        shim::call_later(Duration::from_micros(1), move || {
            timer();
            told.send(()).unwrap();
        });
    });
    task.await.unwrap();
    tells.await.unwrap();
    shim::spawn_blocking(of("job")).await.unwrap();
    std::thread::spawn(shim::bind(of("bound"))).join().unwrap();

    struct Notes<F: Fn()>(F);
    impl<F: Fn()> Drop for Notes<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let (notes, (starts, started)) = (Notes(of("aborted")), oneshot::channel());
    let aborted = shim::spawn(async move {
        let _notes = notes;
        starts.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    started.await.unwrap();
    aborted.abort();
    assert!(aborted.await.unwrap_err().is_cancelled());
}

/// Serves several requests at once, on runtimes of one and of several threads. `enter` makes
/// something current for a request, by its number, and calls what it is given.
pub(crate) fn serve(
    enter: impl Fn(u64, &mut dyn FnMut()) + Clone + Send + Sync + 'static,
    note: impl Fn(&'static str) + Clone + Send + Sync + 'static,
) {
    let one = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let several = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build();
    for runtime in [one.unwrap(), several.unwrap()] {
        runtime.block_on(async {
            let requests = (1..=REQUESTS).map(|number| {
                let (enter, note) = (enter.clone(), note.clone());
                let request = async move {
                    REQUEST.set(number);
                    let mut work = None;
                    enter(number, &mut || {
                        work = Some(hops(note.clone()).in_current_context())
                    });
                    work.unwrap().await;
                };
                tokio::spawn(request.in_current_context())
            });
            for request in requests.collect::<Vec<_>>() {
                request.await.unwrap();
            }
        });
    }
}

/// What all requests together note: each hop of each, on both runtimes.
pub(crate) fn expected() -> Vec<(String, u64)> {
    let numbers = |hop: &str| {
        let hop = hop.to_owned();
        (1..=REQUESTS).flat_map(move |number| [(hop.clone(), number), (hop.clone(), number)])
    };
    HOPS.into_iter().flat_map(numbers).collect()
}
