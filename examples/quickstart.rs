//! A request id that follows a task, a blocking job and a callback, on the built-in event loop.
//!
//! ```sh
//! cargo run --example quickstart
//! ```

use aiocontextvars::{context_var, shim};

context_var! {
    /// Id of the request being served.
    static REQUEST_ID: u64;
}

fn main() {
    shim::block_on(async {
        REQUEST_ID.set(7);

        let task = shim::spawn(async { REQUEST_ID.get() });
        let job = shim::spawn_blocking(|| REQUEST_ID.get());
        shim::call_soon(|| println!("callback:     {:?}", REQUEST_ID.get()));

        // Each of them started in a copy of the context, taken at the call: they do not see this.
        REQUEST_ID.set(8);

        println!("task:         {:?}", task.await.unwrap());
        println!("blocking job: {:?}", job.await.unwrap());
        println!("here:         {:?}", REQUEST_ID.get());
    });
    println!("outside:      {:?}", REQUEST_ID.get());
}
