//! The tests of the feature `wasm`, in JavaScript's event loop. `run.mjs` calls what is exported
//! here, in Node and in a browser.

#![cfg(all(target_family = "wasm", target_os = "unknown"))]
#![allow(
    unreachable_pub,
    reason = "what JavaScript calls has to be `pub`, and no crate does"
)]

mod tests;
