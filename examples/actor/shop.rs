//! The actors, and the requests that send them messages.

use std::thread;

use aiocontextvars::channel::{self, Receiver, Sender};
use aiocontextvars::{Carried, context_var, shim};
use futures::channel::{mpsc, oneshot};
use futures::executor;
use log::info;

use crate::Tally;
use crate::args::Options;

context_var! {
    /// Id of the request at work.
    pub(crate) static REQUEST_ID: u64;
}

/// How many lines are logged for each request.
pub(crate) const LINES: u64 = 3;

/// Messages that wait, for each actor.
const WAITING: usize = 8;

/// A message to an actor.
struct Order {
    /// To tell what is right: the id of the request that it is from.
    number: u64,
    reply: oneshot::Sender<Seen>,
}

/// Which request the actor, and a job that it started, were working for.
type Seen = [Option<u64>; 2];

type Orders = Sender<mpsc::Sender<Carried<Order>>>;

/// Makes all requests, and tells in how many cases the actor saw the right one.
pub(crate) async fn run(options: &Options) -> Result<Tally, String> {
    let (doors, actors): (Vec<_>, Vec<_>) = (1..=options.actors)
        .map(|number| {
            let (door, orders) = channel::carrying(mpsc::channel(WAITING));
            (door, shim::spawn(actor(number, orders, options.bare)))
        })
        .unzip();

    let mut answers = Vec::new();
    for sender in 0..options.senders {
        let share = options.clone();
        let doors = doors.clone();
        let ids = (1..=options.requests)
            .skip(sender as usize)
            .step_by(share.senders as usize);
        let (done, answer) = oneshot::channel();
        let requests = async move {
            // Nobody waits if the program has failed already.
            let _ = done.send(make_requests(ids, doors).await);
        };
        if sender % 2 == 0 {
            shim::spawn(requests).detach();
        } else {
            thread::Builder::new()
                .name(format!("sender-{sender}"))
                .spawn(|| executor::block_on(requests))
                .map_err(|error| format!("cannot start a thread: {error}"))?;
        }
        answers.push(answer);
    }
    // The actors end when nobody can send them anything.
    drop(doors);

    let mut total = Tally::default();
    for answer in answers {
        let tally = answer.await.map_err(|_| "a sender has failed")?;
        total.right += tally.right;
        total.wrong += tally.wrong;
    }
    for actor in actors {
        actor.await.map_err(|error| format!("an actor: {error}"))?;
    }
    Ok(total)
}

/// Makes one request after another.
async fn make_requests(ids: impl Iterator<Item = u64>, mut doors: Vec<Orders>) -> Tally {
    let mut tally = Tally::default();
    for id in ids {
        let door = id as usize % doors.len();
        let seen = request(id, &mut doors[door]).await;
        tally.count(seen == Some([Some(id); 2]) && REQUEST_ID.get() == Some(id));
    }
    tally
}

/// Sends an order, and returns what the actor saw.
async fn request(id: u64, door: &mut Orders) -> Option<Seen> {
    REQUEST_ID.set(id);
    let (reply, answer) = oneshot::channel();
    door.send(Order { number: id, reply }).await.ok()?;
    answer.await.ok()
}

/// Handles orders until there will be no more: each in the context that it was sent from, or in the
/// actor's own.
async fn actor(name: u64, mut orders: Receiver<mpsc::Receiver<Carried<Order>>>, bare: bool) {
    if bare {
        while let Some(order) = orders.recv().await {
            handle(name, order.into_inner()).await;
        }
    } else {
        orders.run(|order| handle(name, order)).await;
    }
}

/// Knows nothing of requests.
async fn handle(name: u64, order: Order) {
    let number = order.number;
    info!("actor {name} takes order {number}");
    let seen = REQUEST_ID.get();
    let job = shim::spawn_blocking(move || {
        info!("a thread packs order {number}");
        REQUEST_ID.get()
    });
    let seen_by_job = job.await.unwrap_or_default();
    info!("actor {name} is done with order {number}");
    // Who sent it may be gone.
    let _ = order.reply.send([seen, seen_by_job]);
}
