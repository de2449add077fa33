//! `bridge::tracing`: spans and subscribers follow the work.

mod dispatch;
mod recorder;
mod spans;

use std::sync::Once;

use aiocontextvars::bridge::tracing::{CurrentDispatch, CurrentSpan};
use aiocontextvars::companion;

/// As in `main`.
fn set_up() {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        companion::register(CurrentDispatch).unwrap();
        companion::register(CurrentSpan).unwrap();
    });
}
