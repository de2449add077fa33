//! What a check prints, and what its panic says.

use std::env;
use std::panic;
use std::process::{Command, Output};
use std::thread;

use aiocontextvars::shim::{Executor, Runnable};
use aiocontextvars_conformance::{Suite, run_alone};

/// Runs each step in a thread that panics afterwards.
struct Noisy;

impl Executor for Noisy {
    fn schedule(&self, task: Runnable) {
        thread::spawn(|| {
            task.run();
            panic!("noise of the executor");
        });
    }
}

/// Loses what it is given.
struct Loses;

impl Executor for Loses {
    fn schedule(&self, task: Runnable) {
        drop(task);
    }
}

/// Runs each step in a thread.
struct Sound;

impl Executor for Sound {
    fn schedule(&self, task: Runnable) {
        thread::spawn(|| task.run());
    }
}

#[test]
fn the_panic_of_a_check_is_the_report() {
    let payload = panic::catch_unwind(|| Suite::new(|| Loses).only("ta_0").check());
    let text = *payload.unwrap_err().downcast::<String>().unwrap();
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("conformance_check::printed::Loses fails "),
        "{text}"
    );
    assert!(
        text.contains("\ntasks: the capture point is spawn\n"),
        "{text}"
    );
    let place = "    row ta_05_the_capture_point_is_spawn, at crates/conformance/src/tasks.rs:";
    assert!(text.contains(place), "{text}");
}

#[test]
#[ignore = "run by another test"]
fn child_with_failures() {
    Suite::new(|| Loses).only("ta_0").check();
}

#[test]
#[ignore = "run by another test"]
fn child_with_noise() {
    Suite::new(|| Noisy).only("ta_0").check();
    // Those of the suite are printed again when no check runs.
    run_alone("ta_01", &[]);
}

#[test]
#[ignore = "run by another test"]
fn child_with_panics_of_callbacks() {
    Suite::new(|| Sound)
        .only("r_05_an_exception_handler")
        .check();
}

fn child(name: &str) -> (Output, String) {
    let mut command = Command::new(env::current_exe().unwrap());
    let name = format!("printed::{name}");
    command.args(["--exact", &name, "--ignored", "--nocapture"]);
    let output = command.env("RUST_BACKTRACE", "0").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, text)
}

#[test]
fn panics_of_rows_are_in_the_report_only() {
    let (output, text) = child("child_with_failures");
    assert!(!output.status.success());
    // One panic is printed, that of the check.
    assert_eq!(text.matches("panicked at").count(), 1, "{text}");
    assert!(text.contains("Loses fails "), "{text}");
}

#[test]
fn panics_of_others_are_printed() {
    let (_, text) = child("child_with_noise");
    assert!(text.contains("noise of the executor"), "{text}");
    assert!(text.contains("there is such a row"), "{text}");
}

#[test]
fn panics_of_a_rows_callbacks_are_not_printed() {
    let (output, text) = child("child_with_panics_of_callbacks");
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}
