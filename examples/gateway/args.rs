//! The command line.

use std::ffi::OsString;

use lexopt::prelude::*;

use crate::carrier::Carrier;
use crate::logging::Log;
use crate::options::{message, number, text};
use crate::report::Style;
use crate::runtime::Runtime;
use crate::wire::{self, Place};

pub(crate) const HELP: &str = "\
A service that shows whose request each hop of a request sees.

Usage: gateway [OPTIONS]

Without --listen it starts on a free port, sends itself requests, checks every hop of every answer, and prints a
table. Before each eighth request comes a login: a request to a route outside of the carrier, which tries to set the
tenant and has to leave nothing behind. Exit status: 0 if each hop saw its own request and the logins did no harm, 1 if
not (with --carrier context, that is) or if the service cannot start, 2 for a wrong command line.

Options:
  --runtime NAME      event-loop (default), tokio, tokio-current-thread, async-std, smol, or all: those that
                      are compiled in
  --carrier NAME      what carries the request's id and tenant: context (default), thread-local, or task-local
                      (on tokio only); the last two lose or mix up values, and that is what they are there for
  --requests N        requests to send on each runtime (default 2000)
  --concurrency N     requests in flight (default 64)
  --json              one JSON object a line instead of the table
  --log NAME          text (default) or json: how log lines are written, to standard error
  --upstream URL      pass each request to the gateway that listens at this URL, with its id and tenant as baggage,
                      and check the hops of its answers as well
  --listen ADDRESS    serve others, until Ctrl-C
  --inside            with --listen: believe the baggage of whoever calls, as behind an edge
  -h, --help          print this

RUST_LOG=info,gateway=debug logs each hop, with the values and the span that it is in.";

const REQUESTS: u64 = 2000;
const REQUESTS_LIMIT: u64 = 1_000_000_000;
const CONCURRENCY: usize = 64;
/// Each request in flight takes two sockets and, for a moment, a thread of the operating system.
const CONCURRENCY_LIMIT: usize = 10_000;

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Drive(Drive),
    Listen(Listen),
}

/// Send requests to a service of our own.
#[derive(Debug)]
pub(crate) struct Drive {
    pub(crate) runtimes: Vec<Runtime>,
    pub(crate) carrier: Carrier,
    pub(crate) requests: u64,
    pub(crate) concurrency: usize,
    pub(crate) place: Place,
    pub(crate) style: Style,
    pub(crate) log: Log,
}

/// Serve others.
#[derive(Debug)]
pub(crate) struct Listen {
    pub(crate) runtime: Runtime,
    pub(crate) carrier: Carrier,
    pub(crate) place: Place,
    pub(crate) address: String,
    pub(crate) log: Log,
}

/// Reads the command line; the error is a message.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut runtimes = vec![Runtime::EventLoop];
    let mut all = false;
    let mut carrier = Carrier::Context;
    let mut requests = None;
    let mut concurrency = None;
    let mut json = false;
    let mut log = Log::default();
    let mut listen = None;
    let mut place = Place::default();
    while let Some(arg) = parser.next().map_err(message)? {
        match arg {
            Long("runtime") => {
                let name = text(&mut parser)?;
                runtimes = Runtime::named(&name)?;
                all = name == Runtime::EVERY;
            }
            Long("carrier") => carrier = carrier_of(&text(&mut parser)?)?,
            Long("requests") => {
                requests = Some(number(&mut parser, "--requests", 1..=REQUESTS_LIMIT)?);
            }
            Long("concurrency") => {
                let limit = CONCURRENCY_LIMIT as u64;
                concurrency = Some(number(&mut parser, "--concurrency", 1..=limit)? as usize);
            }
            Long("json") => json = true,
            Long("log") => log = Log::named(&text(&mut parser)?)?,
            Long("upstream") => place.upstream = Some(wire::address(&text(&mut parser)?)?),
            Long("inside") => place.inside = true,
            Long("listen") => listen = Some(text(&mut parser)?),
            Long("help") | Short('h') => return Ok(Command::Help),
            _ => return Err(message(arg.unexpected())),
        }
    }
    for runtime in &runtimes {
        check(carrier, *runtime)?;
    }

    if carrier != Carrier::Context && (place.inside || place.upstream.is_some()) {
        return Err("--upstream and --inside are for `--carrier context` only".to_owned());
    }
    if place.inside && listen.is_none() {
        return Err(
            "--inside is for --listen: the requests that gateway sends itself are of an edge"
                .to_owned(),
        );
    }

    let Some(address) = listen else {
        let requests = requests.unwrap_or(REQUESTS);
        return Ok(Command::Drive(Drive {
            runtimes,
            carrier,
            requests,
            concurrency: concurrency.unwrap_or(CONCURRENCY),
            place,
            style: if json { Style::Json } else { Style::Table },
            log,
        }));
    };
    let of_the_load = [
        ("--requests", requests.is_some()),
        ("--concurrency", concurrency.is_some()),
        ("--json", json),
    ];
    if let Some((name, _)) = of_the_load.iter().find(|(_, given)| *given) {
        return Err(format!(
            "{name} is about the requests that gateway sends itself, and with --listen it sends none"
        ));
    }
    match runtimes[..] {
        [runtime] if !all => Ok(Command::Listen(Listen {
            runtime,
            carrier,
            place,
            address,
            log,
        })),
        _ => Err("--listen serves on one runtime; name one instead of `all`".to_owned()),
    }
}

fn carrier_of(name: &str) -> Result<Carrier, String> {
    match name {
        "context" => Ok(Carrier::Context),
        "thread-local" => Ok(Carrier::ThreadLocal),
        #[cfg(feature = "tokio")]
        "task-local" => Ok(Carrier::TaskLocal),
        #[cfg(not(feature = "tokio"))]
        "task-local" => Err(
            "the carrier `task-local` is tokio's, which is not compiled in: build with `--features tokio`"
                .to_owned(),
        ),
        _ => Err(format!(
            "there is no carrier `{name}`; choose from context, thread-local, task-local"
        )),
    }
}

fn check(carrier: Carrier, runtime: Runtime) -> Result<(), String> {
    if carrier.is_for_tokio_only() && !runtime.is_tokio() {
        return Err(format!(
            "the carrier `task-local` is tokio's, and not for the runtime `{}`; use it with `--runtime tokio` \
             or `--runtime tokio-current-thread`",
            runtime.name()
        ));
    }
    Ok(())
}
