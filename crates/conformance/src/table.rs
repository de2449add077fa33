//! The rows as values.

use std::panic;

use crate::executor::{Executor, On, OnRemote, OnWrapped};
use crate::harness::{FromOtherThreads, Harness, Wrapped};

/// A row for one executor.
#[derive(Clone, Copy)]
#[allow(
    missing_debug_implementations,
    reason = "hidden from the documentation"
)]
pub struct Row {
    pub(crate) name: &'static str,
    run: Run,
}

#[derive(Clone, Copy)]
enum Run {
    Alone(fn()),
    InATask(fn(), On),
    On(fn(On), On),
    Wrapped(fn(OnWrapped), OnWrapped),
    Remote(fn(OnRemote), OnRemote),
}

impl Row {
    pub(crate) fn run(self) {
        match self.run {
            Run::Alone(row) => row(),
            Run::InATask(row, on) => in_a_task_of(on, row),
            Run::On(row, on) => row(on),
            Run::Wrapped(row, on) => row(on),
            Run::Remote(row, on) => row(on),
        }
    }
}

macro_rules! table {
    ([$run:expr] $($module:ident { $($row:ident)* })*) => {
        vec![$($(Row { name: stringify!($row), run: $run(crate::$module::$row) },)*)*]
    };
}

/// The rows that know no executor.
pub fn on_a_thread() -> Vec<Row> {
    let mut rows = crate::__rows!(plain, table, [Run::Alone]);
    rows.extend(crate::__rows!(thread, table, [Run::Alone]));
    rows
}

/// Those of them that can be run inside a task.
pub fn in_a_task<H: Harness>() -> Vec<Row> {
    fn rows(on: On) -> Vec<Row> {
        crate::__rows!(plain, table, [|row| Run::InATask(row, on)])
    }
    rows(Executor::of::<H>())
}

/// The rows for every executor.
pub fn generic<H: Harness>() -> Vec<Row> {
    fn rows(on: On) -> Vec<Row> {
        crate::__rows!(generic, table, [|row| Run::On(row, on)])
    }
    rows(Executor::of::<H>())
}

/// The rows about futures and outputs whose types the runtime knows: compiled for each executor.
pub fn typed<H: Harness>() -> Vec<Row> {
    macro_rules! table {
        ([] $($module:ident { $($row:ident)* })*) => {
            vec![$($(Row { name: stringify!($row), run: Run::Alone(crate::$module::$row::<H>) },)*)*]
        };
    }
    crate::__rows!(typed, table, [])
}

/// The rows about what is wrapped.
pub fn wrapped<H: Wrapped>() -> Vec<Row> {
    fn rows(on: OnWrapped) -> Vec<Row> {
        crate::__rows!(wrapped, table, [|row| Run::Wrapped(row, on)])
    }
    rows(Executor::wrapped::<H>())
}

/// The rows in which another thread submits work.
pub fn remote<H: FromOtherThreads>() -> Vec<Row> {
    fn rows(on: OnRemote) -> Vec<Row> {
        crate::__rows!(remote, table, [|row| Run::Remote(row, on)])
    }
    rows(Executor::remote::<H>())
}

/// The rows about an executor's end.
pub fn ending<H: Harness>() -> Vec<Row> {
    fn rows(on: On) -> Vec<Row> {
        crate::__rows!(ending, table, [|row| Run::On(row, on)])
    }
    rows(Executor::of::<H>())
}

fn in_a_task_of(on: On, row: fn()) {
    let outcome = on
        .start()
        .block_on(async { on.spawn(async move { row() }).await });
    if let Err(error) = outcome {
        match error.try_into_panic() {
            Ok(payload) => panic::resume_unwind(payload),
            Err(error) => panic!("the task that the row was in: {error}"),
        }
    }
}
