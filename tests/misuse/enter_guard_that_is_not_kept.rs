//! An executor is left when its guard is dropped, so one that nobody keeps enters nothing.
#![deny(unused_must_use)]

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::ContextAwareExecutor;

fn main() {
    let event_loop = EventLoop::new();
    ContextAwareExecutor::new(event_loop.handle()).enter();
}
