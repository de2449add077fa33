//! An HTTP service in which each request's id and tenant follow the work, and a check that they do.
//!
//! Each request passes through tasks and their children, nested scopes, branches of one task,
//! blocking jobs, callbacks, timers, a group, a stream, an actor, a thread and, with the feature
//! `rayon`, parallel jobs. Each of these hops takes down the id and the tenant that it sees, and
//! the response lists them. Before every eighth request comes a login: a request to a route that
//! has no context and tries to set the tenant. As in axum, the runtime's own `spawn` starts the
//! connections; on tokio and async-std the login is refused. By default the program drives its own
//! service over loopback sockets, checks every hop, and checks that the logins leave nothing
//! behind:
//!
//! ```sh
//! cargo run --release --example gateway
//! cargo run --release --all-features --example gateway -- --runtime all
//! ```
//!
//! What goes wrong without context variables:
//!
//! ```sh
//! cargo run --release --example gateway -- --carrier thread-local
//! cargo run --release --features tokio --example gateway -- --runtime tokio --carrier task-local
//! ```
//!
//! To serve curl, with a log line for each hop that knows its request and is in its span; with
//! `--log json`, lines are JSON:
//!
//! ```sh
//! RUST_LOG=info,gateway=debug cargo run --release --example gateway -- --listen 127.0.0.1:8080
//! curl -H 'x-request-id: 42' -H 'x-tenant: acme' http://127.0.0.1:8080/
//! curl -H 'x-tenant: acme' http://127.0.0.1:8080/login http://127.0.0.1:8080/health
//! ```
//!
//! Two of them, of which the first is the edge and passes each request to the second:
//!
//! ```sh
//! cargo run --release --example gateway -- --listen 127.0.0.1:8081 --inside &
//! cargo run --release --example gateway -- --upstream http://127.0.0.1:8081/
//! cargo run --release --example gateway -- --upstream http://127.0.0.1:8081/ --listen 127.0.0.1:8080
//! curl -H 'x-request-id: 42' -H 'x-tenant: acme' http://127.0.0.1:8080/
//! ```
//!
//! The answer has the answer of the second in it, which knows the tenant by baggage alone. The edge
//! believes nobody's, and says what it has refused; the second one believes its caller:
//!
//! ```sh
//! curl -H 'x-tenant: acme' -H 'baggage: tenant=globex' http://127.0.0.1:8080/
//! curl -H 'baggage: tenant=globex,request-id=7' http://127.0.0.1:8081/
//! curl -H 'baggage: tenant=globex,request-id=x7' http://127.0.0.1:8081/
//! ```
//!
//! Where to look: `carrier.rs` sets the variables, `hops.rs` is the handler, `wire.rs` sends and
//! receives them. The rest is what a service needs on any runtime: sockets of `async-io`, whose
//! reactor wakes tasks of any executor, and hyper on top.

mod actor;
mod args;
mod carrier;
mod client;
mod hops;
mod ledger;
mod listen;
mod load;
mod logging;
#[path = "../common/options.rs"]
mod options;
mod report;
mod runtime;
mod server;
mod service;
mod spans;
mod wire;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::{Command, Drive};
use crate::carrier::Carrier;
use crate::report::{Tally, print};

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = match args::parse(env::args_os().skip(1)) {
        Ok(command) => command,
        Err(message) => return fail(&message, ExitCode::from(USAGE)),
    };
    let outcome = match command {
        Command::Help => print(format_args!("{}", args::HELP))
            .or_else(unless_closed)
            .map(|()| ExitCode::SUCCESS)
            .map_err(unwritable),
        Command::Listen(listen) => (listen.log.init())
            .and_then(|()| listen::run(&listen))
            .map(|tally| status(listen.carrier, &tally)),
        Command::Drive(drive) => (drive.log.init())
            .and_then(|()| run_all(&drive))
            .map(|tally| status(drive.carrier, &tally)),
    };
    outcome.unwrap_or_else(|message| fail(&message, ExitCode::FAILURE))
}

/// Runs on each runtime in turn, with a new service each.
fn run_all(drive: &Drive) -> Result<Tally, String> {
    let mut total = Tally::default();
    let style = drive.style;
    let mut written = style.head();
    for runtime in &drive.runtimes {
        if written.is_err() {
            // Nobody reads the rest.
            break;
        }
        let report = load::run(drive, *runtime)?;
        written = style.row(&report);
        total += report.tally;
    }
    written
        .and_then(|()| style.verdict(drive.carrier, &total))
        .or_else(unless_closed)
        .map_err(unwritable)?;
    Ok(total)
}

/// The other carriers are there to be wrong.
fn status(carrier: Carrier, tally: &Tally) -> ExitCode {
    if carrier != Carrier::Context || tally.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A reader that has seen enough, `head` for example, is no failure.
fn unless_closed(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    }
}

fn unwritable(error: io::Error) -> String {
    format!("cannot write to standard output: {error}")
}

fn fail(message: &str, status: ExitCode) -> ExitCode {
    // Where standard error is closed, the status has to do.
    let _ = writeln!(io::stderr(), "gateway: {message}");
    status
}
