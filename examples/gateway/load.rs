//! One run: a service on a runtime, and the client that drives it.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_io::Async;
use futures::FutureExt;
use futures::channel::oneshot;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Drive;
use crate::client;
use crate::report::Report;
use crate::runtime::Runtime;
use crate::server;
use crate::service::Service;

/// A late callback that takes longer than this is lost.
const LATE_LIMIT: Duration = Duration::from_secs(10);

/// Starts a service on `runtime`, drives it, and stops it. The error is a message.
pub(crate) fn run(drive: &Drive, runtime: Runtime) -> Result<Report, String> {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))
        .map_err(|error| format!("cannot listen on 127.0.0.1: {error}"))?;
    let address = listener
        .get_ref()
        .local_addr()
        .map_err(|error| format!("the listener has no address: {error}"))?;
    let service = Service::new(drive.carrier, runtime, drive.place);
    let (stop, stopped) = oneshot::channel();

    // On a thread of its own, away from the runtime and the contexts of the service.
    let client = thread::Builder::new()
        .name("client".to_owned())
        .spawn({
            let (requests, concurrency) = (drive.requests, drive.concurrency);
            let progress = progress(runtime, requests);
            let refuses = runtime.tells_its_tasks();
            let passed_on = drive.place.upstream.is_some();
            move || {
                let driven = client::drive(
                    address,
                    refuses,
                    passed_on,
                    requests,
                    concurrency,
                    &progress,
                );
                progress.finish_and_clear();
                let _ = stop.send(());
                driven
            }
        })
        .map_err(|error| format!("cannot start the client's thread: {error}"))?;
    let ledger = Arc::clone(&service.ledger);
    runtime
        .block_on(async {
            server::serve(listener, service, stopped.shared()).await;
            ledger.settle(LATE_LIMIT).await;
        })
        .map_err(|error| format!("cannot start {}: {error}", runtime.name()))?;

    let driven = client.join().map_err(|_| "the client panicked")?;
    if let Some(failure) = driven.failure {
        tracing::warn!("a request without an answer: {failure}");
    }
    let mut tally = driven.tally;
    tally += ledger.late_callbacks(drive.requests);
    Ok(Report {
        runtime,
        requests: drive.requests,
        tally,
        elapsed: driven.elapsed,
    })
}

/// A bar on standard error, if that is a terminal and no log goes there.
fn progress(runtime: Runtime, requests: u64) -> ProgressBar {
    let target = if tracing::enabled!(tracing::Level::DEBUG) {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(Some(requests), target);
    if let Ok(style) = ProgressStyle::with_template("{msg:<20} {bar:40} {pos}/{len}") {
        bar.set_style(style);
    }
    bar.with_message(runtime.name())
}
