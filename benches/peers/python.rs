//! CPython's contextvars and asyncio, and uvloop, in a child process that takes samples when it is
//! asked.

use std::cell::{OnceCell, RefCell};
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::sampling::{Contest, Side};

struct Python {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Python {
    fn start() -> io::Result<Python> {
        let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let mut child = Command::new(python)
            .args(["-c", include_str!("peers.py")])
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

    fn ask(&mut self, question: &str) -> io::Result<String> {
        let questions = self.questions.as_mut().expect("standard input is piped");
        writeln!(questions, "{question}")?;
        let mut answer = String::new();
        match self.answers.read_line(&mut answer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer.trim().to_owned()),
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.questions.take());
        // It ends when nobody asks any more.
        let _ = self.child.wait();
    }
}

thread_local! {
    /// `None` if there is none.
    static PYTHON: OnceCell<Option<RefCell<Python>>> = const { OnceCell::new() };
}

fn ask(question: &str) -> Option<String> {
    PYTHON.with(|python| {
        let python = python.get_or_init(|| match Python::start() {
            Ok(python) => Some(RefCell::new(python)),
            Err(error) => {
                eprintln!("no python, so neither contextvars nor asyncio nor uvloop: {error}");
                None
            }
        });
        let answer = python.as_ref()?.borrow_mut().ask(question);
        answer
            .map_err(|error| eprintln!("python does not answer `{question}`: {error}"))
            .ok()
    })
}

/// Ends the child.
pub(crate) fn stop() {
    PYTHON.with(|python| {
        if let Some(Some(python)) = python.get() {
            python.borrow_mut().questions.take();
        }
    });
}

impl Contest {
    /// Lets Python take part where it has `peer`. `what` is a function of `peers.py`, and `size`
    /// its number of variables.
    pub(crate) fn python(self, peer: &'static str, what: &'static str, size: usize) -> Contest {
        match ask(&format!("has {peer}")).as_deref() {
            Some("yes") => {
                let side = Side::new(move |n| {
                    let answer = ask(&format!("sample {peer} {what} {size} {n}"));
                    let answer = answer.expect("python answered before");
                    answer.parse().expect("python answers with a number")
                });
                self.side(peer, side.longer(4))
            }
            Some(_) => {
                eprintln!("{peer} is not installed for this python");
                self
            }
            None => self,
        }
    }

    pub(crate) fn event_loops(self, what: &'static str, size: usize) -> Contest {
        self.python("asyncio", what, size)
            .python("uvloop", what, size)
    }
}
