//! A test on each runtime.

use std::future::Future;
use std::panic;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
#[cfg(any(feature = "async-std", feature = "smol"))]
use aiocontextvars::shim;
use futures::future::BoxFuture;

type BlockOn = fn(BoxFuture<'static, ()>);

/// How long a test may take on one runtime: one that hangs must not hide.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs what `test` makes on each runtime, on a thread whose context nobody has written to.
pub(crate) fn on_each_runtime<F: Future<Output = ()> + Send + 'static>(test: impl Fn() -> F) {
    for block_on in runtimes() {
        let future = Box::pin(test());
        let (done, wait) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            block_on(future);
            drop(done);
        });
        assert_ne!(wait.recv_timeout(LIMIT), Err(RecvTimeoutError::Timeout));
        if let Err(payload) = thread.join() {
            panic::resume_unwind(payload);
        }
    }
}

fn runtimes() -> Vec<BlockOn> {
    vec![
        |future| EventLoop::new().run_until_complete(future),
        #[cfg(feature = "tokio")]
        |future| on_tokio(tokio::runtime::Builder::new_multi_thread(), future),
        #[cfg(feature = "tokio")]
        |future| on_tokio(tokio::runtime::Builder::new_current_thread(), future),
        #[cfg(feature = "async-std")]
        |future| shim::async_std::block_on(future),
        #[cfg(feature = "smol")]
        |future| shim::smol::block_on(future),
    ]
}

#[cfg(feature = "tokio")]
fn on_tokio(mut builder: tokio::runtime::Builder, future: BoxFuture<'static, ()>) {
    use aiocontextvars::ContextExt;

    let runtime = builder.build().unwrap();
    runtime.block_on(future.in_current_context());
}
