//! Tasks that the shim did not spawn have no context of their own: what is refused in them, and
//! what works.
//!
//! The modules of the runtimes say where they have such tasks, and run the checks of `refused`
//! inside them.
#![cfg(any(feature = "tokio", feature = "async-std", feature = "smol"))]

#[cfg(feature = "async-std")]
mod async_std;
#[allow(dead_code, reason = "the conformance suite uses the rest")]
#[path = "../../crates/conformance/src/fixtures.rs"]
mod fixtures;
#[cfg(feature = "tokio")]
mod frames;
#[cfg(any(feature = "tokio", feature = "async-std"))]
mod refused;
#[cfg(any(feature = "tokio", feature = "smol"))]
mod runs;
#[cfg(any(feature = "tokio", feature = "async-std"))]
mod shared;
#[cfg(feature = "smol")]
mod smol;
#[cfg(feature = "tokio")]
mod table;
#[cfg(feature = "tokio")]
mod tokio;

use aiocontextvars::copy_context;

use fixtures::{Drops, HELD, ID};

/// What the thread has, as a task sees it.
type Seen = (Option<u64>, usize);

fn seen() -> Seen {
    (ID.get(), copy_context().len())
}

/// Writes, and tells what is there afterwards.
fn write() -> Option<u64> {
    ID.set(ID.get().unwrap_or(0) + 100);
    let drops = Drops::new();
    drop(HELD.scoped(drops.value()));
    assert_eq!(drops.count(), 1);
    ID.get()
}

#[cfg(feature = "tower")]
mod layered {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::task::{self, Poll};

    use aiocontextvars::shim::tower::ContextLayer;
    use tower_layer::Layer;
    use tower_service::Service;

    struct Writes;

    impl Service<()> for Writes {
        type Response = Option<u64>;
        type Error = Infallible;
        type Future = Ready<Result<Option<u64>, Infallible>>;

        fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            ready(Ok(super::write()))
        }
    }

    pub(super) async fn call() -> Option<u64> {
        let Ok(written) = ContextLayer::new().layer(Writes).call(()).await;
        written
    }
}
