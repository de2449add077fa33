//! How fast a callback schedules the next one: here, on bare tokio, and on CPython's asyncio and uvloop, where
//! `python3` (or what `PYTHON` names) has them.
//!
//! The samples of ours and theirs alternate, and what is reported is the median of the ratios of neighbours, so that
//! a noisy machine slows down both. `cargo bench --bench call_soon --all-features`.

use std::cell::RefCell;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use aiocontextvars::event_loop::{EventLoop, LoopHandle};
use aiocontextvars::{context_var, shim};

context_var! { static REQUEST_ID: u64; }

const PAIRS: usize = 101;
const CALLS: u32 = 20_000;

thread_local! {
    static LOOP: RefCell<Option<LoopHandle>> = const { RefCell::new(None) };
}

fn main() {
    // What `cargo test` passes to benches that it only checks.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    REQUEST_ID.set(7);
    println!(
        "one callback schedules the next, {CALLS} times, nanoseconds each, medians of {PAIRS} pairs"
    );
    match Python::start() {
        Ok(mut python) => {
            for peer in ["asyncio", "uvloop"] {
                if python.has(peer) {
                    compare("event loop, shim::call_soon", event_loop_free, peer, || {
                        python.sample(peer)
                    });
                    compare(
                        "event loop, EventLoop::call_soon",
                        event_loop_own,
                        peer,
                        || python.sample(peer),
                    );
                } else {
                    println!("{peer}: not installed for this python");
                }
            }
        }
        Err(error) => println!("no python, so neither asyncio nor uvloop: {error}"),
    }
    #[cfg(feature = "tokio")]
    compare(
        "tokio current-thread, shim::call_soon",
        tokio::ours,
        "tokio::spawn",
        tokio::bare,
    );
    #[cfg(not(feature = "tokio"))]
    println!("tokio: needs the feature");
}

fn compare(name: &str, mut ours: impl FnMut() -> f64, peer: &str, mut theirs: impl FnMut() -> f64) {
    let mut pairs: Vec<_> = (0..PAIRS).map(|_| (ours(), theirs())).collect();
    let mut median = |key: fn(&(f64, f64)) -> f64| {
        pairs.sort_by(|a, b| key(a).total_cmp(&key(b)));
        key(&pairs[PAIRS / 2])
    };
    let (ours, theirs) = (median(|pair| pair.0), median(|pair| pair.1));
    let ratio = median(|pair| pair.1 / pair.0);
    println!("{name}: {ours:.0}; {peer}: {theirs:.0}; {ratio:.2} times the rate");
}

/// Nanoseconds for each call.
fn each(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

fn stop() {
    LOOP.with_borrow(|handle| handle.as_ref().expect("the loop is set").stop());
}

fn event_loop_free() -> f64 {
    fn call(left: u32) {
        match left {
            0 => stop(),
            left => drop(shim::call_soon(move || call(left - 1))),
        }
    }
    let event_loop = EventLoop::new();
    LOOP.set(Some(event_loop.handle()));
    event_loop.call_soon(|| call(CALLS));
    let start = Instant::now();
    event_loop.run_forever();
    each(start)
}

fn event_loop_own() -> f64 {
    thread_local! {
        static OWN: RefCell<Option<EventLoop>> = const { RefCell::new(None) };
    }
    fn call(left: u32) {
        OWN.with_borrow(|event_loop| {
            let event_loop = event_loop.as_ref().expect("the loop is set");
            match left {
                0 => event_loop.stop(),
                left => drop(event_loop.call_soon(move || call(left - 1))),
            }
        });
    }
    OWN.set(Some(EventLoop::new()));
    OWN.with_borrow(|event_loop| {
        let event_loop = event_loop.as_ref().expect("the loop is set");
        event_loop.call_soon(|| call(CALLS));
        let start = Instant::now();
        event_loop.run_forever();
        each(start)
    })
}

#[cfg(feature = "tokio")]
mod tokio {
    use super::*;
    use ::tokio::runtime::{Builder, Runtime};
    use ::tokio::sync::oneshot::{self, Sender};
    use aiocontextvars::ContextExt;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn measure(begin: impl FnOnce(Sender<()>)) -> f64 {
        let run = async {
            let (done, wait) = oneshot::channel();
            let start = Instant::now();
            begin(done);
            wait.await.unwrap();
            each(start)
        };
        runtime().block_on(run.in_current_context())
    }

    pub(super) fn ours() -> f64 {
        fn call(left: u32, done: Sender<()>) {
            match left {
                0 => done.send(()).unwrap(),
                left => drop(shim::call_soon(move || call(left - 1, done))),
            }
        }
        measure(|done| call(CALLS, done))
    }

    pub(super) fn bare() -> f64 {
        fn call(left: u32, done: Sender<()>) {
            match left {
                0 => done.send(()).unwrap(),
                left => drop(::tokio::spawn(async move { call(left - 1, done) })),
            }
        }
        measure(|done| call(CALLS, done))
    }
}

/// A Python that takes samples when it is asked.
struct Python {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Python {
    fn start() -> std::io::Result<Python> {
        let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let mut child = Command::new(python)
            .args(["-c", include_str!("call_soon/peers.py")])
            .arg(CALLS.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (questions, answers) = (child.stdin.take(), child.stdout.take());
        Ok(Python {
            child,
            questions,
            answers: BufReader::new(answers.expect("standard output is piped")),
        })
    }

    fn ask(&mut self, question: &str) -> String {
        let questions = self.questions.as_mut().expect("standard input is piped");
        writeln!(questions, "{question}").expect("python listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("python answers");
        answer.trim().to_owned()
    }

    fn has(&mut self, peer: &str) -> bool {
        self.ask(&format!("has {peer}")) == "yes"
    }

    fn sample(&mut self, peer: &str) -> f64 {
        let answer = self.ask(&format!("sample {peer}"));
        answer.parse().expect("python answers with a number")
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.questions.take());
        // It ends when nobody asks any more.
        let _ = self.child.wait();
    }
}
