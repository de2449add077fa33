//! What the service itself knows of its hops, the late ones above all: their answers are out
//! already.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use aiocontextvars::shim;
use futures::task::AtomicWaker;

use crate::carrier::{Hop, Identity};
use crate::report::Tally;
use crate::service::Answer;
use crate::spans;

/// Checks hops against the identity that came with the request.
#[derive(Default)]
pub(crate) struct Ledger {
    pages: Mutex<Pages>,
    /// Of whoever waits for the late callbacks.
    waiting: AtomicWaker,
}

#[derive(Default)]
struct Pages {
    requests: u64,
    answered: Tally,
    /// Late callbacks that were scheduled.
    scheduled: u64,
    /// Late callbacks that have run, or never will.
    late: Tally,
}

/// A late callback's place in the ledger. Dropped without a record, it counts as lost.
pub(crate) struct Late {
    ledger: Arc<Ledger>,
    identity: Identity,
    /// The span of the request.
    span: Option<u64>,
    recorded: bool,
}

impl Ledger {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens an entry for the late callback of `identity`'s request.
    pub(crate) fn late(self: Arc<Ledger>, identity: Identity) -> Late {
        self.pages().scheduled += 1;
        Late {
            ledger: self,
            identity,
            span: spans::current(),
            recorded: false,
        }
    }

    /// Enters an answer.
    pub(crate) fn answered(&self, identity: &Identity, answer: &Answer) {
        let mut pages = self.pages();
        pages.requests += 1;
        pages.answered.count_answer(identity, answer);
    }

    /// Waits until each late callback has run, at most for `limit`.
    pub(crate) async fn settle(&self, limit: Duration) {
        let settled = poll_fn(|cx| {
            self.waiting.register(cx.waker());
            let pages = self.pages();
            if pages.late.hops == pages.scheduled {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        if shim::timeout(limit, settled).await.is_err() {
            tracing::warn!("some late callbacks have not run within {limit:?}");
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.pages().requests
    }

    /// What was in all answers.
    pub(crate) fn answers(&self) -> Tally {
        self.pages().answered.clone()
    }

    /// The late callbacks of `requests` requests; those that have not run are lost.
    pub(crate) fn late_callbacks(&self, requests: u64) -> Tally {
        let mut late = self.pages().late.clone();
        late.count_missing(requests.saturating_sub(late.hops));
        late
    }
}

impl Late {
    pub(crate) fn record(mut self, hop: &Hop) {
        self.recorded = true;
        self.ledger
            .pages()
            .late
            .count(&self.identity, self.span, hop);
        self.ledger.waiting.wake();
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        if !self.recorded {
            self.ledger.pages().late.count_missing(1);
            self.ledger.waiting.wake();
        }
    }
}
