//! One suite of behaviours, run on every executor.
//!
//! A row is a function in one of the modules below; its name starts with the id of the behaviour. Rows of
//! [`variables`], [`tokens`] and [`contexts`] know no executor: they run on a plain thread, and inside a task
//! of every executor. Others are generic over the [`Harness`].

mod callbacks;
mod contexts;
mod done;
mod exits;
mod fixtures;
mod groups;
mod harness;
mod meddler;
mod outcomes;
mod reentrancy;
mod reentrancy_calls;
mod reentrancy_own;
mod reentrancy_panics;
mod reentrancy_work;
mod reports;
mod returned;
mod rows;
mod runs;
mod shared;
mod sharing;
mod table;
mod tasks;
mod threads;
mod tokens;
mod variables;

pub use self::harness::{
    Anywhere, FromOtherThreads, Harness, Local, Nested, OneThread, Remote, boxed, boxed_here, run,
};
pub use self::table::{Row, ending, generic, in_a_task, on_a_thread, remote};
