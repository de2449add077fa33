//! What CPython's asyncio makes of the programs, and the comparison with it.

use std::sync::OnceLock;

use aiocontextvars::shim;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::comparison::{ask, first_difference, number};
use crate::program::Program;
use crate::run::{Time, Trace, handle, run};

struct Case {
    seed: u64,
    program: Program,
    expected: Trace,
}

/// Runs every program that fits the clock by `block_on`, and compares the traces with asyncio's.
pub(crate) fn agrees(
    executor: &str,
    time: Time,
    mut block_on: impl FnMut(BoxFuture<'static, Trace>) -> Trace,
) {
    for case in cases() {
        if time == Time::Real && case.program.timed {
            continue;
        }
        let trace = block_on(run(case.program.clone(), time).boxed());
        if trace != case.expected {
            panic!("{}", difference(executor, case, &trace));
        }
    }
}

/// The programs and asyncio's traces, made once; none without Python.
fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        shim::set_exception_handler(handle);
        let (seed, count) = (number("ASYNCIO_SEED", 1), number("ASYNCIO_PROGRAMS", 500));
        let seeds = seed..seed.saturating_add(count);
        let programs: Vec<_> = seeds.clone().map(Program::generate).collect();
        let Some(traces) = ask("asyncio/oracle.py", &programs) else {
            return Vec::new();
        };
        seeds
            .zip(programs)
            .zip(traces)
            .map(|((seed, program), expected)| Case {
                seed,
                program,
                expected,
            })
            .collect()
    })
}

/// Both traces side by side, around the first line that differs.
fn difference(executor: &str, case: &Case, trace: &[String]) -> String {
    let expected = &case.expected;
    let at = first_difference(expected, trace);
    let mut text = format!(
        "{executor} and asyncio differ; this program alone: ASYNCIO_SEED={} ASYNCIO_PROGRAMS=1\n\
         {}\n  {:40} {executor}\n",
        case.seed,
        serde_json::to_string(&case.program.root).expect("programs are plain data"),
        "asyncio",
    );
    let line = |lines: &[String], at: usize| lines.get(at).cloned().unwrap_or_default();
    for row in at.saturating_sub(12)..at + 6 {
        let mark = if row == at { '>' } else { ' ' };
        text += &format!("{mark} {:40} {}\n", line(expected, row), line(trace, row));
    }
    text
}
