//! What the tests share that run the same programs here and on CPython.

use std::env;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A number from the environment.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    match env::var(variable) {
        Ok(text) => text.parse().expect(variable),
        Err(_) => default,
    }
}

/// Gives `programs` to `script`, a file under `tests`, and returns its answers, one for each.
///
/// `None` without a `python3`, unless `REQUIRE_PYTHON` is set.
pub(crate) fn ask<T: DeserializeOwned>(
    script: &str,
    programs: &[impl Serialize],
) -> Option<Vec<T>> {
    let python = Command::new("python3")
        .arg(format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR")))
        // Builds without the global lock would start threads in a copy of the context.
        .env("PYTHON_THREAD_INHERIT_CONTEXT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut python = match python {
        Ok(python) => python,
        Err(error) if env::var_os("REQUIRE_PYTHON").is_some() => {
            panic!("python3 is required and does not run: {error}")
        }
        Err(error) => {
            // The harness would keep what `eprintln!` says from those whose tests pass.
            writeln!(
                io::stderr(),
                "SKIPPED: the comparison with CPython, because python3 does not run: {error}"
            )
            .expect("standard error is open");
            return None;
        }
    };
    // It answers when it has read all.
    let stdin = python.stdin.take().expect("standard input is piped");
    serde_json::to_writer(io::BufWriter::new(stdin), programs).expect("python3 reads the programs");
    let output = python.wait_with_output().expect("python3 ends");
    assert!(
        output.status.success(),
        "{script} failed: {}",
        output.status
    );
    let answers: Vec<T> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{script}: {error}"));
    assert_eq!(answers.len(), programs.len());
    Some(answers)
}

/// The first line that differs.
pub(crate) fn first_difference(expected: &[String], trace: &[String]) -> usize {
    expected
        .iter()
        .zip(trace)
        .position(|(left, right)| left != right)
        .unwrap_or_else(|| expected.len().min(trace.len()))
}

/// The index of an element, counted back from the newest one and around.
pub(crate) fn nth_back<T>(elements: &[T], back: usize) -> Option<usize> {
    let newest = elements.len().checked_sub(1)?;
    Some(newest - back % elements.len())
}
