//! The core beside CPython's `contextvars`: the same programs with the same answers, and its tests
//! in Rust.
//!
//! [`oracle`] runs random programs of variables, tokens, contexts and threads ([`program`]) here
//! ([`run`]) and on one `python3` (`oracle.py`), and compares the traces. `PEP567_PROGRAMS` says
//! how many programs there are, 2000 by default, and `PEP567_SEED` the seed of the first, 1; the
//! others count up from it. Without a `python3` the test says so and passes, unless
//! `REQUIRE_PYTHON` is set.
//!
//! [`backport`] tells which test here is which of the PEP 567 backport's, and [`hamt`] is CPython's
//! stress test of its map.

#[path = "../common/any_var.rs"]
mod any_var;
mod backport;
#[path = "../common/comparison.rs"]
mod comparison;
#[path = "../../crates/conformance/src/drops.rs"]
mod drops;
mod hamt;
mod oracle;
mod program;
mod run;
