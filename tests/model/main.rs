//! Random programs on the crate and on a plain model of what it promises: they agree after every
//! step.
//!
//! Programs ([`program`]) set and reset variables, hold guards, run contexts, take snapshots,
//! panic, poll futures by hand, start threads and run executors ([`steps`], [`units`]). The model
//! ([`reference`]) is written from the documentation. [`run`] compares the two.
//!
//! Each test runs 10,000 programs, or `PROPTEST_CASES` if that is more. One that fails is made
//! small and printed, and its seed is kept in `proptest-regressions/programs.txt`, to be tried
//! first from then on.

#[path = "../common/any_var.rs"]
mod any_var;
mod program;
mod reference;
mod run;
mod steps;
mod units;
mod values;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};

use crate::program::Program;
use crate::run::{BlockOn, Planned};

const CASES: u32 = 10_000;

const REGRESSIONS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/model/proptest-regressions/programs.txt"
);

fn agrees(block_on: BlockOn) {
    // A callback is the last block that a planned panic unwinds out of.
    shim::set_exception_handler(|error| assert!(error.payload().is::<Planned>(), "{error}"));
    let config = Config::default();
    let config = Config {
        cases: config.cases.max(CASES),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        ..config
    };
    let run = |program| run::run(&program, block_on).map_err(TestCaseError::fail);
    match TestRunner::new(config).run(&program::programs(), run) {
        Ok(()) => {}
        Err(TestError::Fail(why, program)) => {
            let (why, program) = shortest(why.to_string(), program, block_on);
            panic!("{why}\n{program:?}");
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// Takes out what shrinking has left: that does not look for steps to delete once it makes them
/// simpler.
fn shortest(mut why: String, mut program: Program, block_on: BlockOn) -> (String, Program) {
    let fails = |program: Program| Some((run::run(&program, block_on).err()?, program));
    loop {
        let shorter = program.shorter().find_map(fails);
        match shorter {
            Some(shorter) => (why, program) = shorter,
            None => return (why, program),
        }
    }
}

#[test]
fn programs_agree_with_the_model() {
    agrees(|future| EventLoop::new().try_run_until_complete(future));
}

#[cfg(feature = "tokio")]
#[test]
fn programs_on_tokio_agree_with_the_model() {
    use aiocontextvars::ContextExt;
    use tokio::runtime::Builder;

    agrees(|future| {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(future.in_current_context());
        Ok(())
    });
}
