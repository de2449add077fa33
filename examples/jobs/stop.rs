//! The end of a worker.

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;

/// Completes when a worker is to stop.
pub(crate) type Stop = BoxFuture<'static, ()>;

/// When the sender is dropped, and no later.
pub(crate) fn stop() -> (oneshot::Sender<()>, Stop) {
    let (sender, stopped) = oneshot::channel();
    (sender, stopped.map(drop).boxed())
}

/// When standard input ends, as it does with the process that has started this one.
pub(crate) fn stop_with_parent() -> Stop {
    let (sender, stop) = stop();
    std::thread::spawn(move || {
        let _sender = sender;
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    });
    stop
}
