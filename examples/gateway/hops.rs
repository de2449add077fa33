//! The handler: one stop at every kind of work that a request passes through.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aiocontextvars::shim::TaskGroup;
use aiocontextvars::{Context, ContextExt, in_own_context, shim};
use futures::channel::oneshot;
use futures::{StreamExt, future, stream};
use tracing::{Instrument, Span};

use crate::actor::Actor;
use crate::carrier::{Carrier, Hop, Identity, Seen};
use crate::ledger::Ledger;

/// The hops in an answer, in the order in which [`visit`] makes them.
pub(crate) const HOPS: &[&str] = &[
    "handler",
    "await",
    "timeout",
    "spawn",
    "spawn/spawn",
    "spawn/spawn/spawn",
    "scope",
    "scope/spawn",
    PARTS[0][0],
    PARTS[0][1],
    PARTS[1][0],
    PARTS[1][1],
    PARTS[2][0],
    PARTS[2][1],
    "group",
    "abort/drop",
    "spawn_blocking",
    "spawn_blocking/spawn",
    "call_soon",
    "call_soon/call_soon",
    "call_later",
    "call_later/spawn",
    "bind",
    "stream",
    "message",
    "thread",
    #[cfg(feature = "rayon")]
    "rayon",
    #[cfg(feature = "rayon")]
    "rayon/join",
    #[cfg(feature = "rayon")]
    "rayon/iterator",
    "end",
];

/// The hops of each part that the request is worked on in: of its branch, and of a task that the
/// branch spawns.
const PARTS: [[&str; 2]; 3] = [
    ["part 0", "part 0/spawn"],
    ["part 1", "part 1/spawn"],
    ["part 2", "part 2/spawn"],
];

/// The part that a hop should see.
pub(crate) fn part_of(hop: &str) -> Option<usize> {
    PARTS.iter().position(|hops| hops.contains(&hop))
}

/// Long enough for other requests to get in between.
const PAUSE: Duration = Duration::from_millis(1);
/// Far longer than anything here takes.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// By then the response, which the handler has all but finished, has been sent.
const AFTER_THE_RESPONSE: Duration = Duration::from_millis(25);

/// Passes through all kinds of work and takes down what each of them sees. What fails to run is
/// missing from the result. One more callback comes after the response, and reports to the ledger.
///
/// `identity` is for the ledger, which has to know whose callback that was; no hop gets to see it.
pub(crate) async fn visit(
    carrier: Carrier,
    identity: Identity,
    actor: &Actor,
    ledger: Arc<Ledger>,
) -> Vec<Hop> {
    let mut hops = vec![carrier.look("handler")];

    shim::sleep(PAUSE).await;
    hops.push(carrier.look("await"));

    hops.extend(timeout(carrier).await);
    hops.extend(generations(carrier).await);
    hops.extend(scoped(carrier).await);
    hops.extend(in_parts(carrier).await);
    hops.extend(grouped(carrier).await);
    shim::yield_now().await;
    hops.extend(aborted(carrier).await);
    hops.extend(blocking(carrier).await);
    shim::yield_now().await;
    hops.extend(called_soon(carrier).await);
    hops.extend(called_later(carrier).await);
    shim::yield_now().await;
    hops.extend(bound(carrier).await);
    hops.extend(streamed(carrier).await);
    hops.extend(actor.ask().await);
    hops.extend(thread(carrier).await);
    #[cfg(feature = "rayon")]
    hops.extend(parallel(carrier).await);

    shim::yield_now().await;
    hops.push(carrier.look("end"));

    let late = ledger.late(identity);
    shim::call_later(AFTER_THE_RESPONSE, move || {
        late.record(&carrier.look("late"))
    });
    hops
}

async fn timeout(carrier: Carrier) -> Option<Hop> {
    let slow = async {
        shim::sleep(PAUSE).await;
        carrier.look("timeout")
    };
    shim::timeout(TIME_LIMIT, slow).await.ok()
}

/// A task, its child and its grandchild.
async fn generations(carrier: Carrier) -> Vec<Hop> {
    let task = shim::spawn(async move {
        shim::yield_now().await;
        let mut hops = vec![carrier.look("spawn")];
        let child = shim::spawn(async move {
            let mut hops = vec![carrier.look("spawn/spawn")];
            let grandchild = shim::spawn(async move {
                shim::yield_now().await;
                carrier.look("spawn/spawn/spawn")
            });
            hops.extend(grandchild.await);
            hops
        });
        hops.extend(child.await.unwrap_or_default());
        hops
    });
    task.await.unwrap_or_default()
}

/// A task that inherits nothing and has the id and the tenant of two scopes, made by functions that
/// know nothing of each other, and the span; and its child.
async fn scoped(carrier: Carrier) -> Vec<Hop> {
    let Seen {
        request_id: Some(id),
        tenant: Some(tenant),
        ..
    } = carrier.current()
    else {
        return Vec::new();
    };
    let work = async move {
        shim::yield_now().await;
        let mut hops = vec![carrier.look("scope")];
        let child = shim::spawn(async move {
            shim::yield_now().await;
            carrier.look("scope/spawn")
        });
        hops.extend(child.await);
        hops
    };
    let work = carrier.with_tenant(tenant, carrier.with_id(id, work));
    let task = shim::spawn_in(Context::new(), work.instrument(Span::current()));
    task.await.unwrap_or_default()
}

/// The parts of the request, in branches of this one task, and a child of each.
async fn in_parts(carrier: Carrier) -> Vec<Hop> {
    let all = Mutex::new(Vec::new());
    let seen = &all;
    let work = |(part, [here, in_a_task]): (usize, [&'static str; 2])| {
        carrier.work_on_part(part, async move {
            // Meanwhile the other branches set their parts.
            shim::sleep(PAUSE).await;
            let mut hops = vec![carrier.look(here)];
            let child = shim::spawn(async move { carrier.look(in_a_task) });
            hops.extend(child.await);
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(hops);
        })
    };
    stream::iter(PARTS.into_iter().enumerate())
        .for_each_concurrent(None, in_own_context(work))
        .await;
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The child of a group.
async fn grouped(carrier: Carrier) -> Option<Hop> {
    let child = TaskGroup::scope(async |group: TaskGroup<Infallible>| {
        Ok(group.spawn(async move {
            shim::yield_now().await;
            Ok(carrier.look("group"))
        }))
    });
    // It has ended by now.
    child.await.ok()?.await.ok()?
}

/// A task that is aborted: its destructors run on its behalf as well.
async fn aborted(carrier: Carrier) -> Option<Hop> {
    struct OnDrop {
        carrier: Carrier,
        seen: Option<oneshot::Sender<Hop>>,
    }

    impl Drop for OnDrop {
        fn drop(&mut self) {
            if let Some(seen) = self.seen.take() {
                let _ = seen.send(self.carrier.look("abort/drop"));
            }
        }
    }

    let (sender, hop) = oneshot::channel();
    let on_drop = OnDrop {
        carrier,
        seen: Some(sender),
    };
    let task = shim::spawn(async move {
        let _on_drop = on_drop;
        future::pending::<()>().await;
    });
    shim::yield_now().await;
    task.abort();
    hop.await.ok()
}

/// A blocking job, and a task that it spawns.
async fn blocking(carrier: Carrier) -> Vec<Hop> {
    let job = shim::spawn_blocking(move || {
        let hop = carrier.look("spawn_blocking");
        let task = shim::spawn(async move { carrier.look("spawn_blocking/spawn") });
        (hop, task)
    });
    match job.await {
        Ok((hop, task)) => [hop].into_iter().chain(task.await).collect(),
        Err(_) => Vec::new(),
    }
}

/// A callback, and a callback that it schedules.
async fn called_soon(carrier: Carrier) -> Vec<Hop> {
    let (sender, hops) = oneshot::channel();
    shim::call_soon(move || {
        let first = carrier.look("call_soon");
        shim::call_soon(move || {
            let _ = sender.send(vec![first, carrier.look("call_soon/call_soon")]);
        });
    });
    hops.await.unwrap_or_default()
}

/// A timer's callback, and a task that it spawns.
async fn called_later(carrier: Carrier) -> Vec<Hop> {
    let (sender, hops) = oneshot::channel();
    shim::call_later(PAUSE, move || {
        let hop = carrier.look("call_later");
        let task = shim::spawn(async move { carrier.look("call_later/spawn") });
        let _ = sender.send((hop, task));
    });
    match hops.await {
        Ok((hop, task)) => [hop].into_iter().chain(task.await).collect(),
        Err(_) => Vec::new(),
    }
}

/// A closure that is called by somebody who has nothing to do with the request.
async fn bound(carrier: Carrier) -> Option<Hop> {
    let look = shim::bind(move || carrier.look("bind"));
    shim::spawn_in(Context::new(), async { look() }).await.ok()
}

/// A stream that somebody else drives, who has nothing to do with the request.
async fn streamed(carrier: Carrier) -> Option<Hop> {
    let looks = stream::once(async move {
        shim::yield_now().await;
        carrier.look("stream")
    });
    let mut looks = Box::pin(looks.in_current_context());
    let task = shim::spawn_in(Context::new(), async move { looks.next().await });
    task.await.ok().flatten()
}

/// A thread, which the executor does not wait for.
async fn thread(carrier: Carrier) -> Option<Hop> {
    let (sender, hop) = oneshot::channel();
    let thread = shim::thread::Builder::new().spawn(move || {
        let _ = sender.send(carrier.look("thread"));
    });
    if let Err(error) = thread {
        tracing::warn!("no thread: {error}");
    }
    hop.await.ok()
}

/// A job on rayon's threads, a part of it, and the items of a parallel iterator.
#[cfg(feature = "rayon")]
async fn parallel(carrier: Carrier) -> Vec<Hop> {
    use rayon::iter::{IntoParallelIterator, ParallelExtend, ParallelIterator};

    let (sender, hops) = oneshot::channel();
    shim::rayon::spawn(move || {
        let mut hops = vec![carrier.look("rayon")];
        let (half, ()) = shim::rayon::join(move || carrier.look("rayon/join"), || ());
        hops.push(half);
        let items = (0..1).into_par_iter().in_current_context();
        hops.par_extend(items.map(|_| carrier.look("rayon/iterator")));
        let _ = sender.send(hops);
    });
    hops.await.unwrap_or_default()
}
