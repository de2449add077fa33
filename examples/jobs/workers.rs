//! The workers of a run: tasks of this process, or processes of their own.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use apalis::prelude::MemoryStorage;
use futures::channel::oneshot;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::BoxError;
use crate::args::{Engine, Work};
use crate::job::{self, Job};
use crate::memory;
use crate::report::{Report, Reporter};
use crate::stop::stop;

/// What a worker has to finish its jobs in.
const GRACE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) enum Workers {
    Tasks(Vec<Task>),
    Processes(Vec<Child>),
}

/// One that ends when its sender goes.
pub(crate) struct Task {
    sender: oneshot::Sender<()>,
    task: JoinHandle<Result<(), BoxError>>,
}

impl Workers {
    /// One for each of these queues.
    pub(crate) fn tasks(
        runtime: &Runtime,
        queues: Vec<MemoryStorage<Job>>,
        reports: &Sender<Report>,
    ) -> Workers {
        let tasks = queues.into_iter().enumerate().map(|(number, queue)| {
            let (sender, stop) = stop();
            let reporter = Reporter::here(number, reports.clone());
            Task {
                sender,
                task: runtime.spawn(memory::work(queue, reporter, stop)),
            }
        });
        Workers::Tasks(tasks.collect())
    }

    pub(crate) fn processes(
        count: usize,
        server: (Engine, &str),
        queue: &str,
        reports: &Sender<Report>,
    ) -> Result<Workers, BoxError> {
        let (engine, url) = server;
        let program = env::current_exe()?;
        let mut workers = Vec::new();
        for number in 0..count {
            let work = Work {
                engine,
                url: url.to_owned(),
                queue: queue.to_owned(),
                number,
            };
            let mut child = Command::new(&program)
                .args(work.args(job::is_bare()))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let lines = BufReader::new(child.stdout.take().ok_or("a worker has no output")?);
            let reports = reports.clone();
            workers.push(child);
            thread::spawn(move || {
                for line in lines.lines().map_while(Result::ok) {
                    match serde_json::from_str(&line) {
                        Ok(report) => drop(reports.send(report)),
                        Err(error) => eprintln!("jobs: not a report: {error}: {line}"),
                    }
                }
            });
        }
        Ok(Workers::Processes(workers))
    }

    /// Kills a worker in the middle of its jobs.
    pub(crate) fn kill(&mut self, number: usize) -> Result<(), BoxError> {
        match self {
            Workers::Processes(children) => Ok(children[number].kill()?),
            Workers::Tasks(_) => Err("a task cannot be killed".into()),
        }
    }

    /// Whether all that were not killed are still there.
    pub(crate) fn check(&mut self) -> Result<(), BoxError> {
        let Workers::Processes(children) = self else {
            return Ok(());
        };
        for child in children {
            let failed = child.try_wait()?.filter(|status| status.code().is_some());
            if let Some(status) = failed {
                return Err(format!("a worker has ended: {status}").into());
            }
        }
        Ok(())
    }

    /// Lets them finish what they do.
    pub(crate) fn stop(self, runtime: &Runtime) -> Result<(), BoxError> {
        match self {
            Workers::Tasks(tasks) => {
                for Task { sender, task } in tasks {
                    drop(sender);
                    runtime.block_on(task)??;
                }
            }
            Workers::Processes(mut children) => {
                children
                    .iter_mut()
                    .for_each(|child| drop(child.stdin.take()));
                let deadline = Instant::now() + GRACE;
                for child in &mut children {
                    while child.try_wait()?.is_none() {
                        if Instant::now() > deadline {
                            child.kill()?;
                            return Err("a worker has not ended in time".into());
                        }
                        thread::sleep(PAUSE);
                    }
                }
            }
        }
        Ok(())
    }
}
