//! The rows as values.

use std::panic;

use super::harness::{FromOtherThreads, Harness, Wrapped};

/// A row for one executor.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub run: fn(),
}

macro_rules! table {
    ($how:tt $($module:ident { $($row:ident)* })*) => {
        vec![$($(Row { name: stringify!($row), run: run!($how $module $row) },)*)*]
    };
}

macro_rules! run {
    ([] $module:ident $row:ident) => {
        super::$module::$row
    };
    ([$harness:ty] $module:ident $row:ident) => {
        super::$module::$row::<$harness>
    };
    ([in a task of $harness:ty] $module:ident $row:ident) => {
        || in_task::<$harness>(super::$module::$row)
    };
}

/// The rows that know no executor.
pub fn on_a_thread() -> Vec<Row> {
    let mut rows = crate::__conformance_rows!(plain, table, []);
    rows.extend(crate::__conformance_rows!(thread, table, []));
    rows
}

/// Those of them that can be run inside a task.
pub fn in_a_task<H: Harness>() -> Vec<Row> {
    crate::__conformance_rows!(plain, table, [in a task of H])
}

/// The rows for every executor.
pub fn generic<H: Harness>() -> Vec<Row> {
    crate::__conformance_rows!(generic, table, [H])
}

/// The rows about what is wrapped.
pub fn wrapped<H: Wrapped>() -> Vec<Row> {
    crate::__conformance_rows!(wrapped, table, [H])
}

/// The rows in which another thread submits work.
pub fn remote<H: FromOtherThreads>() -> Vec<Row> {
    crate::__conformance_rows!(remote, table, [H])
}

/// The rows about an executor's end.
pub fn ending<H: Harness>() -> Vec<Row> {
    crate::__conformance_rows!(ending, table, [H])
}

fn in_task<H: Harness>(row: fn()) {
    let outcome = H::start().block_on(async { H::spawn(async move { row() }).await });
    if let Err(error) = outcome {
        match error.try_into_panic() {
            Ok(payload) => panic::resume_unwind(payload),
            Err(error) => panic!("the task that the row was in: {error}"),
        }
    }
}
