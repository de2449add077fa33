//! What CPython's `contextvars` makes of the programs, and the comparison with it.

use std::fmt::Write;

use crate::comparison::{ask, first_difference, number};
use crate::program::Program;
use crate::run::{Trace, run};

/// What programs make happen, as the traces have it.
const EVENTS: [&str; 14] = [
    "LookupError",
    "KeyError",
    "None",
    "MISSING",
    "RuntimeError: already entered",
    "RuntimeError: used",
    "ValueError: different variable",
    "ValueError: different context",
    "entered",
    "left",
    "caught",
    "outside",
    "True",
    "False",
];

#[test]
fn programs_agree_with_cpython() {
    let seed = number("PEP567_SEED", 1);
    let count = number("PEP567_PROGRAMS", 2000);
    let programs: Vec<_> = (seed..seed.saturating_add(count))
        .map(Program::generate)
        .collect();
    let Some(traces) = ask::<Trace>("pep567/oracle.py", &programs) else {
        return;
    };
    if count >= 1000 {
        assert_worth(&traces);
    }
    for ((seed, program), expected) in (seed..).zip(programs).zip(traces) {
        let trace = run(program.clone());
        if trace != expected {
            panic!("{}", difference(seed, &program, &expected, &trace));
        }
    }
}

/// Programs in which little happens would agree as well.
fn assert_worth(traces: &[Trace]) {
    for event in EVENTS {
        let lines = traces.iter().flatten();
        let times = lines.filter(|line| line.contains(event)).count();
        assert!(times >= traces.len() / 10, "{event}: only {times} times");
    }
}

/// The program as far as both agree, and the first line that differs.
fn difference(seed: u64, program: &Program, expected: &[String], trace: &[String]) -> String {
    let at = first_difference(expected, trace);
    let mut text = format!(
        "CPython differs; this program alone: PEP567_SEED={seed} PEP567_PROGRAMS=1\n\
         {} variables, {} actors\n",
        program.variables, program.actors,
    );
    for (number, step) in program.steps.iter().take(at + 1).enumerate() {
        let (actor, operation) = (step.actor, &step.operation);
        writeln!(text, "{number:3}: actor {actor}: {operation:?}").expect("a string grows");
    }
    let line = |lines: &[String]| lines.get(at).map_or("(the end)".to_owned(), String::clone);
    format!(
        "{text}line {at}\n  CPython: {}\n     here: {}\n",
        line(expected),
        line(trace)
    )
}
