//! The command line.

use std::env;
use std::ffi::OsString;

use lexopt::prelude::*;

use crate::options::{message, number, text};

pub(crate) const HELP: &str = "\
Jobs that run, in other processes, in the context of the request that enqueued them.

Usage: jobs [OPTIONS]

Starts a service that enqueues jobs of several tenants, sends it requests, runs the jobs in two workers, checks what
each of them sees, and prints a table. A fifth of the jobs that are due at once panics on its first delivery, some are
delayed, some periodic, and some come with headers that are broken. Exit status: 0 if each job ran in the context of
its request and none was lost, 1 if not or if something cannot be started, 2 for a wrong command line.

Options:
  --backend NAME  memory (default): apalis, with both workers in this process
                  postgres: apalis over PostgreSQL, with two worker processes
                  nats: JetStream, with two worker processes
  --url URL       of the server, for postgres and nats; by default $JOBS_POSTGRES_URL or $JOBS_NATS_URL
  --jobs N        how many jobs (default 500)
  --kill          kill a worker process in the middle of a job, which must not be lost
  --bare          ignore the headers of the messages, which is wrong
  -h, --help      print this

`bash examples/jobs/servers.sh COMMAND` runs a command with both servers and variables.";

const JOBS: u64 = 500;
const JOBS_LIMIT: u64 = 1_000_000;

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Run(Run),
    Work(Work),
}

/// Be the service, with its clients.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) backend: Backend,
    pub(crate) jobs: u64,
    pub(crate) kill: bool,
}

/// A command, and whether workers ignore the headers of messages.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) command: Command,
    pub(crate) bare: bool,
}

/// Be a worker of another process.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) engine: Engine,
    pub(crate) url: String,
    pub(crate) queue: String,
    pub(crate) number: usize,
}

#[derive(Debug)]
pub(crate) enum Backend {
    Memory,
    Server(Engine, String),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Postgres,
    Nats,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Postgres => "postgres",
            Engine::Nats => "nats",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Engine::Postgres => "JOBS_POSTGRES_URL",
            Engine::Nats => "JOBS_NATS_URL",
        }
    }
}

impl Backend {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Backend::Memory => "memory",
            Backend::Server(engine, _) => engine.name(),
        }
    }
}

impl Work {
    /// The command line of a worker. It is not for people, and not in the help.
    pub(crate) fn args(&self, bare: bool) -> Vec<String> {
        let number = self.number.to_string();
        let engine = self.engine.name();
        let mut args = vec![
            "--backend",
            engine,
            "--url",
            &self.url,
            "--queue",
            &self.queue,
        ];
        args.extend(["--worker", &number]);
        args.extend(bare.then_some("--bare"));
        args.into_iter().map(str::to_owned).collect()
    }
}

/// Reads the command line; the error is a message.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, String> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut engine = None;
    let mut url = None;
    let mut jobs = JOBS;
    let mut kill = false;
    let mut queue = None;
    let mut worker = None;
    let mut bare = false;
    while let Some(arg) = parser.next().map_err(message)? {
        match arg {
            Long("backend") => engine = engine_of(&text(&mut parser)?)?,
            Long("url") => url = Some(text(&mut parser)?),
            Long("jobs") => jobs = number(&mut parser, "--jobs", 1..=JOBS_LIMIT)?,
            Long("kill") => kill = true,
            Long("bare") => bare = true,
            Long("queue") => queue = Some(text(&mut parser)?),
            Long("worker") => worker = Some(number(&mut parser, "--worker", 0..=99)? as usize),
            Long("help") | Short('h') => {
                let command = Command::Help;
                return Ok(Args { command, bare });
            }
            _ => return Err(message(arg.unexpected())),
        }
    }
    let Some(engine) = engine else {
        if url.is_some() || kill || queue.is_some() || worker.is_some() {
            return Err(
                "--url and --kill are about servers and processes, of which `--backend memory` has none; \
                 use them with postgres or nats"
                    .to_owned(),
            );
        }
        let backend = Backend::Memory;
        let command = Command::Run(Run {
            backend,
            jobs,
            kill,
        });
        return Ok(Args { command, bare });
    };
    let url = url.or_else(|| env::var(engine.variable()).ok());
    let url = url.ok_or_else(|| {
        format!(
            "--backend {} needs a server: give its --url, or run this by `bash examples/jobs/servers.sh`",
            engine.name()
        )
    })?;
    let command = match (queue, worker) {
        (None, None) => Command::Run(Run {
            backend: Backend::Server(engine, url),
            jobs,
            kill,
        }),
        (Some(queue), Some(number)) => Command::Work(Work {
            engine,
            url,
            queue,
            number,
        }),
        _ => return Err("--queue and --worker go together".to_owned()),
    };
    Ok(Args { command, bare })
}

fn engine_of(name: &str) -> Result<Option<Engine>, String> {
    match name {
        "memory" => Ok(None),
        "postgres" => Ok(Some(Engine::Postgres)),
        "nats" => Ok(Some(Engine::Nats)),
        _ => Err(format!(
            "there is no backend `{name}`; choose from memory, postgres, nats"
        )),
    }
}
