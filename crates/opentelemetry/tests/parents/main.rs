//! A trace whose spans are made in every kind of work has the right parents, on every runtime.

mod exported;
mod hops;
mod runtimes;

use std::sync::Once;

use aiocontextvars::companion;
use aiocontextvars_opentelemetry::CurrentContext;

/// As in `main`.
fn set_up() {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| companion::register(CurrentContext).unwrap());
}
