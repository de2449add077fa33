//! Rows TA-18: what acts in the context of whoever polls or calls it. They are the tables of
//! `docs/sharing.md`, with those of [`isolating`](crate::isolating).

use std::convert::Infallible;
use std::future;
use std::task::{Context as Cx, Poll, Waker};
use std::time::Duration;

use aiocontextvars::{Context, ContextExt, shim};
use futures::channel::{mpsc, oneshot};
use futures::future::{
    Either, FutureExt, TryFutureExt, join_all, select, select_all, try_join_all,
};
use futures::sink::SinkExt;
use futures::stream::{FuturesOrdered, FuturesUnordered, StreamExt, TryStreamExt};
use futures::{pin_mut, stream};

use crate::executor::On;
use crate::fixtures::{ID, Log, SeesOnDrop};
use crate::harness::boxed;

/// Adds one to what the current context has, in its second step. Returns what it found.
pub(crate) async fn bump() -> u64 {
    shim::yield_now().await;
    add_one()
}

pub(crate) fn add_one() -> u64 {
    let found = ID.get_or(0);
    ID.set(found + 1);
    found
}

/// What [`ID`] was, and from now on is another.
fn replaced(id: u64) -> Option<u64> {
    let before = ID.get();
    ID.set(id);
    before
}

pub(crate) async fn never(probe: SeesOnDrop) {
    let _probe = probe;
    future::pending().await
}

pub(crate) fn ta_18_await(on: On) {
    async fn calls() -> u64 {
        bump().await + async { bump().await }.await + Box::pin(bump()).await
    }
    on.start().block_on(async {
        ID.set(1);
        assert_eq!(calls().await, 1 + 2 + 3);
        assert_eq!(ID.get(), Some(4));
        // What is made of futures by their adapters is polled, and the functions are called, by
        // whoever awaits.
        let adapted = bump()
            .map(|found| (found, add_one()))
            .then(|found| async move { (found, bump().await) })
            .inspect(|_| {
                add_one();
            })
            .fuse();
        ID.set(10);
        assert_eq!(adapted.await, ((10, 11), 12));
        let fallible = async { Err::<u64, _>(bump().await) };
        let fallible =
            fallible.or_else(|found| async move { Ok::<_, Infallible>(found + bump().await) });
        assert_eq!(fallible.await, Ok(14 + 15));
        assert_eq!(ID.get(), Some(16));
    });
    assert_eq!(ID.get(), None);
}

pub(crate) fn ta_18_join(on: On) {
    on.start().block_on(async {
        ID.set(1);
        // Each branch sees what the others set, as their turns come.
        let first = async {
            let before = replaced(10);
            shim::yield_now().await;
            (before, ID.get())
        };
        let seen = futures::join!(first, async { replaced(20) });
        assert_eq!(seen, ((Some(1), Some(20)), Some(10)));
        assert_eq!(ID.get(), Some(20));
        assert_eq!(join_all((0..3).map(|_| bump())).await, [20, 21, 22]);
        assert_eq!(ID.get(), Some(23));
    });
}

pub(crate) fn ta_18_try_join(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let ok = async { Ok::<_, u64>(bump().await) };
        let both = futures::try_join!(ok, async { Ok(bump().await) });
        assert_eq!((both, ID.get()), (Ok((1, 2)), Some(3)));
        // The first failure has the others dropped, in the caller's context.
        let seen = Log::new();
        let fails = async { Err::<(), _>(bump().await) };
        let waits = never(SeesOnDrop(seen.clone())).map(Ok);
        assert_eq!(futures::try_join!(waits, fails), Err(3));
        assert_eq!((seen.take(), ID.get()), (vec![Some(4)], Some(4)));
        let all = (0..2).map(|_| async { Ok::<_, ()>(bump().await) });
        assert_eq!(try_join_all(all).await, Ok(vec![4, 5]));
    });
}

pub(crate) fn ta_18_select(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let seen = Log::new();
        {
            let (wins, loses) = (bump().fuse(), never(SeesOnDrop(seen.clone())).fuse());
            pin_mut!(wins, loses);
            let found = futures::select! { found = wins => found, () = loses => 0 };
            assert_eq!(found, 1);
            ID.set(3);
        }
        // Whoever drops the loser has it dropped in their context.
        assert_eq!(seen.take(), [Some(3)]);
        let loses = never(SeesOnDrop(seen.clone()));
        let found = match select(Box::pin(bump()), Box::pin(loses)).await {
            Either::Left((found, _)) => found,
            Either::Right(_) => unreachable!("it never ends"),
        };
        assert_eq!((found, seen.take(), ID.get()), (3, vec![Some(4)], Some(4)));
        // A branch that loses has shared up to there.
        let loses = async {
            ID.set(10);
            future::pending::<u64>().await
        };
        let (found, index, _) = select_all([boxed(loses), boxed(bump())]).await;
        assert_eq!((found, index, ID.get()), (10, 1, Some(11)));
    });
}

pub(crate) fn ta_18_futures_unordered(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let unordered: FuturesUnordered<_> = (0..3).map(|_| bump()).collect();
        let mut found: Vec<_> = unordered.collect().await;
        found.sort();
        assert_eq!((found, ID.get()), (vec![1, 2, 3], Some(4)));
        let ordered: FuturesOrdered<_> = (0..3).map(|_| bump()).collect();
        assert_eq!(ordered.collect::<Vec<_>>().await, [4, 5, 6]);
        // They go with the set to another task, and share its context.
        let mut moved = FuturesUnordered::new();
        moved.push(boxed(bump()));
        let task = on.spawn_in(Context::new().with_value(&ID, 50), async move {
            (moved.next().await, ID.get())
        });
        assert_eq!(task.await.unwrap(), (Some(50), Some(51)));
        assert_eq!(ID.get(), Some(7));
    });
}

pub(crate) fn ta_18_buffered(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let unordered = stream::iter(0..4).map(|_| bump()).buffer_unordered(2);
        let mut found: Vec<_> = unordered.collect().await;
        found.sort();
        assert_eq!((found, ID.get()), (vec![1, 2, 3, 4], Some(5)));
        let buffered = stream::iter(0..4).map(|_| bump()).buffered(2);
        assert_eq!(buffered.collect::<Vec<_>>().await, [5, 6, 7, 8]);
        let fallible = stream::iter(0..2).map(|_| Ok::<_, ()>(async { Ok(bump().await) }));
        let found = fallible.try_buffer_unordered(2).try_collect::<Vec<_>>();
        assert_eq!(found.await.map(|found| found.len()), Ok(2));
        assert_eq!(ID.get(), Some(11));
    });
}

pub(crate) fn ta_18_for_each_concurrent(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let each = |_| bump().map(drop);
        stream::iter(0..4).for_each_concurrent(2, each).await;
        assert_eq!(ID.get(), Some(5));
        stream::iter(0..2).for_each_concurrent(None, each).await;
        assert_eq!(ID.get(), Some(7));
        let items = stream::iter((0..4).map(Ok));
        let all = items.try_for_each_concurrent(2, |n| async move {
            bump().await;
            if n < 1 { Ok(()) } else { Err(n) }
        });
        assert!(all.await.is_err());
        assert!(ID.get() > Some(8));
    });
}

pub(crate) fn ta_18_stream_adapters(on: On) {
    on.start().block_on(async {
        // None of this is in a context of its own, though it is built in another one.
        let adapted = Context::new().with_value(&ID, 100).run(|| {
            stream::iter(0..6)
                .map(|_| add_one())
                .then(|_| bump())
                .filter(|found| future::ready(*found < 6 && add_one() > 0))
                .take_while(|_| bump().map(|_| true))
                .inspect(|_| {
                    add_one();
                })
                .take(1)
        });
        ID.set(1);
        assert_eq!(adapted.collect::<Vec<_>>().await, [2]);
        assert_eq!(ID.get(), Some(6));
        let folded = stream::iter(0..3).fold(0, |sum, _| bump().map(move |found| sum + found));
        assert_eq!((folded.await, ID.get()), (6 + 7 + 8, Some(9)));
        stream::iter(0..3).for_each(|_| bump().map(drop)).await;
        assert_eq!(ID.get(), Some(12));
    });
}

pub(crate) fn ta_18_sinks(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let (sender, receiver) = mpsc::unbounded();
        let mut sink = sender.with(|n: u64| {
            let found = boxed(bump());
            found.map(move |found| Ok::<_, mpsc::SendError>((n, found)))
        });
        sink.send(7).await.unwrap();
        stream::iter([8, 9]).map(Ok).forward(sink).await.unwrap();
        let all = receiver.collect::<Vec<_>>().await;
        assert_eq!(all, [(7, 1), (8, 2), (9, 3)]);
        assert_eq!(ID.get(), Some(4));
    });
}

/// TA-20: a stream has no context, unless it is given one.
pub(crate) fn ta_18_a_stream_polled_elsewhere(on: On) {
    on.start().block_on(async {
        let items = || Box::pin(stream::unfold((), |()| async { Some((bump().await, ())) }));
        ID.set(1);
        let mut bare = items();
        let mut wrapped = items().in_current_context();
        assert_eq!((bare.next().await, ID.get()), (Some(1), Some(2)));
        assert_eq!((wrapped.next().await, ID.get()), (Some(1), Some(2)));
        let other = on.spawn_in(Context::new().with_value(&ID, 50), async move {
            let seen = (bare.next().await, wrapped.next().await);
            (seen, ID.get())
        });
        // The wrapped one goes on from where it was.
        assert_eq!(other.await.unwrap(), ((Some(50), Some(2)), Some(51)));
        assert_eq!(ID.get(), Some(2));
    });
}

pub(crate) fn ta_18_timeouts(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let in_time = shim::timeout(Duration::from_secs(60), bump());
        assert_eq!((in_time.await, ID.get()), (Ok(1), Some(2)));
        shim::sleep(Duration::from_millis(1)).await;
        shim::yield_now().await;
        assert_eq!(bump().await, 2);
        // What runs out of time has shared up to there, and is dropped in the caller's context.
        let seen = Log::new();
        let probe = SeesOnDrop(seen.clone());
        let waits = async {
            ID.set(10);
            never(probe).await
        };
        assert!(
            shim::timeout(Duration::from_millis(1), waits)
                .await
                .is_err()
        );
        assert_eq!((seen.take(), ID.get()), (vec![Some(10)], Some(10)));
    });
}

/// A poll acts in the context of that clone's owner who makes it.
pub(crate) fn ta_18_shared_futures(on: On) {
    on.start().block_on(async {
        for wrapped in [false, true] {
            let (go, going) = oneshot::channel::<()>();
            ID.set(1);
            let future = async {
                let first = replaced(10);
                going.await.unwrap();
                (first, replaced(20))
            };
            let future = match wrapped {
                false => boxed(future).shared(),
                true => boxed(future.in_current_context()).shared(),
            };
            let mut here = future.clone();
            assert!(
                here.poll_unpin(&mut Cx::from_waker(Waker::noop()))
                    .is_pending()
            );
            // Before the spawn: the future is locked while it wakes who waits for it, and a step
            // may run at once.
            go.send(()).unwrap();
            let there = on.spawn_in(Context::new().with_value(&ID, 2), async {
                (future.await, ID.get())
            });
            let (seen, left_there) = there.await.unwrap();
            if wrapped {
                assert_eq!((seen, left_there), ((Some(1), Some(10)), Some(2)));
                assert_eq!(ID.get(), Some(1));
            } else {
                // It began here and ended there.
                assert_eq!((seen, left_there), ((Some(1), Some(2)), Some(20)));
                assert_eq!(ID.get(), Some(10));
            }
            // Everyone gets the one output.
            assert_eq!(here.await, seen);
        }
    });
}

/// The remote half acts where it is polled; its handle brings the output and nothing else.
pub(crate) fn ta_18_remote_handle(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let (remote, handle) = bump().remote_handle();
        on.spawn_in(Context::new().with_value(&ID, 50), remote)
            .await
            .unwrap();
        assert_eq!((handle.await, ID.get()), (50, Some(1)));
        let (remote, handle) = bump().remote_handle();
        let ((), found) = futures::join!(remote, handle);
        assert_eq!((found, ID.get()), (1, Some(2)));
    });
}

/// TA-14: what is sent carries no context, and neither does the wake-up.
pub(crate) fn ta_18_channels(on: On) {
    on.start().block_on(async {
        let (sender, mut receiver) = mpsc::unbounded::<u64>();
        let (once, wait) = oneshot::channel::<u64>();
        ID.set(1);
        let receives = on.spawn(async move {
            let (first, second) = (receiver.next().await, wait.await);
            (first, second.unwrap(), bump().await)
        });
        on.spawn_in(Context::new().with_value(&ID, 50), async move {
            sender.unbounded_send(bump().await).unwrap();
            once.send(bump().await).unwrap();
        })
        .await
        .unwrap();
        assert_eq!(receives.await.unwrap(), (Some(50), 51, 1));
        assert_eq!(ID.get(), Some(1));
    });
}

/// A guard acts in the context it was made in: in branches, that is everyone's.
pub(crate) fn ta_18_guards(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let (scoped, unscoped) = (oneshot::channel::<()>(), oneshot::channel::<()>());
        let guards = async {
            let _guard = ID.scoped(10);
            scoped.0.send(()).unwrap();
            unscoped.1.await.unwrap();
            ID.get()
        };
        let looks = async {
            scoped.1.await.unwrap();
            let seen = ID.get();
            unscoped.0.send(()).unwrap();
            seen
        };
        let seen = futures::join!(guards, looks);
        assert_eq!((seen, ID.get()), ((Some(10), Some(10)), Some(1)));
    });
}

/// TA-06: a waker acts in the context of whoever wakes, and the task in its own.
pub(crate) fn ta_18_wakers(on: On) {
    on.start().block_on(async {
        let (sender, mut receiver) = mpsc::unbounded::<Waker>();
        ID.set(1);
        let mut polls = 0;
        let waits = on.spawn(future::poll_fn(move |cx| {
            polls += 1;
            if polls == 1 {
                sender.unbounded_send(cx.waker().clone()).unwrap();
                return Poll::Pending;
            }
            Poll::Ready(add_one())
        }));
        let waker = receiver.next().await.unwrap();
        ID.set(2);
        waker.wake();
        assert_eq!((waits.await.unwrap(), ID.get()), (1, Some(2)));
    });
}
