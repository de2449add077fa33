//! Serving others until Ctrl-C.

use std::net::TcpListener;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_io::Async;
use futures::FutureExt;
use futures::channel::oneshot;

use crate::args::Listen;
use crate::report::{Tally, print};
use crate::server::{self, Stop};
use crate::service::{REQUEST_ID, Service, TENANT};

const LATE_LIMIT: Duration = Duration::from_secs(2);
/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Serves until Ctrl-C, and returns what was wrong with the hops. The error is a message.
pub(crate) fn run(listen: &Listen) -> Result<Tally, String> {
    let Listen {
        runtime,
        carrier,
        place,
        address,
        ..
    } = listen;
    let listener = TcpListener::bind(address)
        .and_then(Async::new)
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let bound = listener
        .get_ref()
        .local_addr()
        .map_err(|error| format!("the listener has no address: {error}"))?;
    let stop = on_ctrl_c()?;
    let service = Service::new(*carrier, *runtime, *place);
    let ledger = Arc::clone(&service.ledger);

    // Nobody need read this: a closed standard output does not keep the service from serving.
    let _ = print(format_args!(
        "serving on http://{bound}/ with {}; Ctrl-C stops it\n\
         try: curl -H '{REQUEST_ID}: 42' -H '{TENANT}: acme' http://{bound}/",
        runtime.name()
    ));
    runtime
        .block_on(async {
            server::serve(listener, service, stop).await;
            ledger.settle(LATE_LIMIT).await;
        })
        .map_err(|error| format!("cannot start {}: {error}", runtime.name()))?;

    let requests = ledger.requests();
    let mut tally = ledger.answers();
    tally += ledger.late_callbacks(requests);
    let Tally {
        hops,
        misattributed,
        lost,
        left_behind,
        strayed,
        ..
    } = tally;
    let _ = print(format_args!(
        "stopped: {requests} requests, {hops} hops, {misattributed} misattributed, {lost} lost, {strayed} in another span, \
         {left_behind} requests found something of another"
    ));
    Ok(tally)
}

/// Completes at the first Ctrl-C or termination signal. The second one ends the program at once.
fn on_ctrl_c() -> Result<Stop, String> {
    let (sender, stop) = oneshot::channel();
    let sender = Mutex::new(Some(sender));
    ctrlc::set_handler(move || {
        let first = sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        match first {
            Some(sender) => {
                let _ = print(format_args!("stopping: finishing what is in flight"));
                let _ = sender.send(());
            }
            None => process::exit(INTERRUPTED),
        }
    })
    .map_err(|error| format!("cannot wait for Ctrl-C: {error}"))?;
    Ok(stop.shared())
}
