//! One program for every runtime: it runs on the one whose feature is on, and on the built-in event
//! loop with none of them or several.
//!
//! ```sh
//! cargo run --example one_runtime --features tokio
//! cargo run --example one_runtime --features smol
//! cargo run --example one_runtime --features async-std
//! cargo run --example one_runtime
//! ```

use std::thread;
use std::time::Duration;

use aiocontextvars::{context_var, shim};

context_var! {
    /// Id of the request being served.
    static REQUEST_ID: u64;
}

async fn serve(id: u64) {
    REQUEST_ID.set(id);
    let task = shim::spawn(async { (REQUEST_ID.get(), runtime()) });
    let job = shim::spawn_blocking(|| REQUEST_ID.get());
    shim::call_later(Duration::from_millis(1), || {
        println!("a timer of request {:?}", REQUEST_ID.get());
    });
    shim::sleep(Duration::from_millis(20)).await;
    let (seen, runtime) = task.await.expect("the task does not panic");
    println!("a task of request {seen:?} ran on {runtime}");
    println!(
        "a blocking job of request {:?}",
        job.await.expect("nor does the job")
    );
}

fn main() {
    shim::block_on(serve(7));
}

/// Whose thread this is, by its name.
fn runtime() -> &'static str {
    match thread::current().name() {
        Some(name) if name.starts_with("tokio-rt-worker") => "tokio",
        Some(name) if name.starts_with("smol-") => "smol",
        Some(name) if name.starts_with("async-std/") => "async-std",
        _ => "the event loop",
    }
}
