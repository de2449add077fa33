//! One actor for all requests: each message is handled on behalf of whoever has sent it.

use aiocontextvars::channel::{self, Sender};
use aiocontextvars::{Carried, Context, shim};
use futures::channel::{mpsc, oneshot};

use crate::carrier::{Carrier, Hop};

type Question = oneshot::Sender<Hop>;

/// The way to the actor, which ends with the last of them.
#[derive(Clone)]
pub(crate) struct Actor(Sender<mpsc::UnboundedSender<Carried<Question>>>);

impl Actor {
    /// Starts it on the current executor. It outlives the request that happens to be the first, and
    /// has none of its values.
    pub(crate) fn start(carrier: Carrier) -> Actor {
        let (sender, mut receiver) = channel::carrying(mpsc::unbounded());
        let answer = move |question: Question| async move {
            shim::yield_now().await;
            let _ = question.send(carrier.look("message"));
        };
        shim::spawn_in(Context::new(), async move { receiver.run(answer).await }).detach();
        Actor(sender)
    }

    /// What the actor sees when it handles a message of the caller's.
    pub(crate) async fn ask(&self) -> Option<Hop> {
        let (question, hop) = oneshot::channel();
        self.0.unbounded_send(question).ok()?;
        hop.await.ok()
    }
}
