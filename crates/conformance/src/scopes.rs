//! Rows TA-19 about scopes: a copy of the context around them, taken at their first use.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{self, Poll, Waker};

use aiocontextvars::shim;
use aiocontextvars::{Context, ContextExt, Scope, context_var, copy_context, in_own_context};
use futures::future::{FusedFuture, FutureExt, join, join_all};
use futures::io::{AsyncBufRead, AsyncRead, AsyncWrite};
use futures::sink::Sink;
use futures::stream::{self, FusedStream, FuturesUnordered, Stream, StreamExt};

use crate::executor::On;
use crate::fixtures::{ID, Log, SeesOnDrop};

context_var! {
    static OUTER: u64;
    static INNER: u64;
}

type Seen = (Option<u64>, Option<u64>, Option<u64>);

fn seen() -> Seen {
    (OUTER.get(), INNER.get(), ID.get())
}

/// A helper as those of other crates are: it knows nothing of other scopes.
fn with_inner<F: Future>(value: u64, future: F) -> Scope<F> {
    INNER.scope(value, future)
}

pub(crate) fn ta_19_scopes_compose(on: On) {
    on.start().block_on(async {
        ID.set(3);
        let both = OUTER.scope(1, INNER.scope(2, async { seen() }));
        assert_eq!(both.await, (Some(1), Some(2), Some(3)));
        let helped = OUTER.scope(1, with_inner(2, async { seen() }));
        assert_eq!(helped.await, (Some(1), Some(2), Some(3)));
        // In a block between the two, with an await before the inner one is made.
        let block = OUTER.scope(1, async {
            shim::yield_now().await;
            let first = with_inner(2, async { seen() }).await;
            (first, with_inner(4, async { seen() }).await, seen())
        });
        let (first, second, after) = block.await;
        assert_eq!(first, (Some(1), Some(2), Some(3)));
        assert_eq!(second, (Some(1), Some(4), Some(3)));
        assert_eq!(after, (Some(1), None, Some(3)));
        // The innermost of one variable has it.
        let same = INNER.scope(1, INNER.scope(2, with_inner(3, async { INNER.get() })));
        assert_eq!(same.await, Some(3));
        assert_eq!(seen(), (None, None, Some(3)));
    });
}

pub(crate) fn ta_19_scopes_in_loops_and_tasks(on: On) {
    on.start().block_on(async {
        for n in 0..3 {
            let found = OUTER.scope(n, async move {
                let mut found = Vec::new();
                for m in 0..3 {
                    found.push(with_inner(m, async { seen() }).await);
                    shim::yield_now().await;
                }
                found
            });
            let expected: Vec<Seen> = (0..3).map(|m| (Some(n), Some(m), None)).collect();
            assert_eq!(found.await, expected);
        }
        // What is spawned inside inherits both; a spawned scope has what its task has.
        let spawned = OUTER.scope(1, async {
            let inside = with_inner(2, async { on.spawn(async { seen() }).await.unwrap() });
            let around = on.spawn(with_inner(3, async { seen() }));
            (inside.await, around.await.unwrap())
        });
        let expected = ((Some(1), Some(2), None), (Some(1), Some(3), None));
        assert_eq!(spawned.await, expected);
        // The task's context is of the time of the spawn, and the scope's that of the task.
        OUTER.set(7);
        let task = on.spawn_in(Context::new(), with_inner(2, async { seen() }));
        let taken_along = with_inner(2, async { seen() }).in_current_context();
        let taken_along = on.spawn_in(Context::new(), taken_along);
        OUTER.set(8);
        assert_eq!(task.await.unwrap(), (None, Some(2), None));
        assert_eq!(taken_along.await.unwrap(), (Some(7), Some(2), None));
        let branches = join_all((0..4).map(|n| with_inner(n, async { seen() })));
        let expected: Vec<Seen> = (0..4).map(|n| (Some(8), Some(n), None)).collect();
        assert_eq!(branches.await, expected);
    });
}

pub(crate) fn ta_19_a_scope_is_made_at_its_first_use(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let scope = with_inner(2, async {
            let first = seen();
            shim::yield_now().await;
            (first, seen())
        });
        ID.set(3);
        let mut scope = pin!(scope);
        // From its first poll on it has a context of its own, whatever changes outside and wherever
        // it is polled.
        assert!(scope.as_mut().now_or_never().is_none());
        ID.set(4);
        let expected = (None, Some(2), Some(3));
        let elsewhere = scope.in_context(Context::new().with_value(&ID, 5));
        assert_eq!(elsewhere.await, (expected, expected));
        // What is set inside stays inside.
        let writes = with_inner(2, async {
            ID.set(9);
            INNER.set(10);
            shim::yield_now().await;
            seen()
        });
        assert_eq!(writes.await, (None, Some(10), Some(9)));
        assert_eq!(seen(), (None, None, Some(4)));
    });
}

pub(crate) fn ta_19_a_scope_that_is_never_polled(on: On) {
    let log = Log::new();
    on.start().block_on(async {
        let probe = |log: &Log<Option<u64>>| {
            let probe = SeesOnDrop(log.clone());
            async move { drop(probe) }
        };
        // It is dropped in a copy of what is current at its drop, in which the variable has its
        // value.
        drop(OUTER.scope(1, ID.scope(2, probe(&log))));
        assert_eq!(log.take(), [Some(2)]);
        ID.set(3);
        let unpolled = INNER.scope(4, probe(&log));
        ID.set(5);
        drop(unpolled);
        assert_eq!((log.take(), seen()), (vec![Some(5)], (None, None, Some(5))));
        let unpolled = INNER.scope(4, probe(&log));
        Context::new().with_value(&ID, 6).run(|| drop(unpolled));
        assert_eq!(log.take(), [Some(6)]);
        // Nested, the inner one is dropped in what the outer one has.
        let nested = ID.scope(7, INNER.scope(8, probe(&log)));
        drop(nested);
        assert_eq!((log.take(), seen()), (vec![Some(7)], (None, None, Some(5))));
        // A task that is aborted before its first poll.
        let task = on.spawn(ID.scope(9, probe(&log)));
        task.abort();
        let _either = task.await;
        assert_eq!(log.take(), [Some(9)]);
    });
}

/// Polls by hand, for what has no method of its own that does.
fn now<R>(poll: impl FnOnce(&mut task::Context<'_>) -> Poll<R>) -> R {
    match poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("nothing waits here"),
    }
}

pub(crate) fn ta_19_scopes_of_streams(on: On) {
    on.start().block_on(async {
        let items = stream::unfold(0, async |n| {
            ID.set(n);
            shim::yield_now().await;
            Some((seen(), n + 1))
        });
        let scoped = OUTER.scope(1, INNER.scope(2, items));
        let found: Vec<Seen> = pin!(scoped).take(2).collect().await;
        let expected = [0, 1].map(|n| (Some(1), Some(2), Some(n)));
        assert_eq!((found, seen()), (expected.to_vec(), (None, None, None)));

        let sized = OUTER.scope(1, stream::iter(0..3).fuse());
        assert_eq!(
            (sized.size_hint(), sized.is_terminated()),
            ((3, Some(3)), false)
        );
        let fused = INNER.scope(2, async { seen() }.fuse());
        let mut fused = pin!(fused);
        assert!(!fused.is_terminated());
        assert_eq!(fused.as_mut().now_or_never(), Some((None, Some(2), None)));
        assert!(fused.is_terminated());

        // An iterator, which is asked in the scope too.
        let mut iterator = OUTER.scope(1, INNER.scope(2, (0..2).map(|_| seen())));
        assert_eq!(iterator.size_hint(), (2, Some(2)));
        assert_eq!(iterator.next(), Some((Some(1), Some(2), None)));
        OUTER.set(5);
        assert_eq!(iterator.next(), Some((Some(1), Some(2), None)));
    });
}

/// A sink, reader and writer that notes what is current when it is used.
struct Notes(Vec<Seen>);

impl Notes {
    fn note<R>(self: Pin<&mut Self>, result: R) -> Poll<io::Result<R>> {
        self.get_mut().0.push(seen());
        Poll::Ready(Ok(result))
    }
}

impl Sink<u8> for Notes {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        self.note(())
    }

    fn start_send(self: Pin<&mut Self>, _: u8) -> io::Result<()> {
        self.get_mut().0.push(seen());
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        self.note(())
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        self.note(())
    }
}

impl AsyncRead for Notes {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.note(0)
    }
}

impl AsyncBufRead for Notes {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.note(&[][..])
    }

    fn consume(self: Pin<&mut Self>, _: usize) {
        self.get_mut().0.push(seen());
    }
}

impl AsyncWrite for Notes {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.note(bytes.len())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        self.note(())
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        self.note(())
    }
}

/// Whichever call comes first makes the copy, also one that is no poll.
pub(crate) fn ta_19_scopes_of_sinks_readers_and_writers(on: On) {
    type Scoped = Scope<Notes>;
    type FirstUse = fn(Pin<&mut Scoped>);
    let first_uses: [FirstUse; 8] = [
        |scoped| now(|cx| Sink::<u8>::poll_ready(scoped, cx)).unwrap(),
        |scoped| Sink::<u8>::start_send(scoped, 1).unwrap(),
        |scoped| now(|cx| Sink::<u8>::poll_flush(scoped, cx)).unwrap(),
        |scoped| now(|cx| Sink::<u8>::poll_close(scoped, cx)).unwrap(),
        |scoped| assert_eq!(now(|cx| scoped.poll_read(cx, &mut [0])).unwrap(), 0),
        |scoped| assert!(now(|cx| scoped.poll_fill_buf(cx).map_ok(<[u8]>::is_empty)).unwrap()),
        |scoped| scoped.consume(0),
        |scoped| assert_eq!(now(|cx| scoped.poll_write(cx, &[1])).unwrap(), 1),
    ];
    on.start().block_on(async {
        for first_use in first_uses {
            let mut scoped = INNER.scope(2, Notes(Vec::new()));
            OUTER.set(1);
            first_use(Pin::new(&mut scoped));
            OUTER.set(3);
            first_use(Pin::new(&mut scoped));
            let expected = (Some(1), Some(2), None);
            assert_eq!(scoped.inner().0, [expected; 2]);
            assert_eq!(scoped.into_inner().0.len(), 2);
        }
    });
}

/// Branches of one task share its context, unless each has its own.
pub(crate) fn ta_18_branches_in_their_own_contexts(on: On) {
    async fn branch(n: u64) -> (u64, Option<u64>) {
        ID.set(n);
        let _guard = INNER.scoped(n);
        shim::yield_now().await;
        assert_eq!(ID.get(), INNER.get());
        (n, ID.get())
    }
    let own: Vec<_> = (10..14).map(|n| (n, Some(n))).collect();
    on.start().block_on(async {
        OUTER.set(1);
        // All begin before the first goes on.
        let shared = join_all((10..14).map(branch)).await;
        assert_eq!(
            shared,
            own.iter().map(|(n, _)| (*n, Some(13))).collect::<Vec<_>>()
        );
        ID.unset();

        assert_eq!(join_all((10..14).map(in_own_context(branch))).await, own);
        let mut unordered: FuturesUnordered<_> = (10..14).map(in_own_context(branch)).collect();
        while let Some((n, found)) = unordered.next().await {
            assert_eq!(found, Some(n));
        }
        let buffered = stream::iter(10..14)
            .map(in_own_context(branch))
            .buffer_unordered(3);
        buffered
            .for_each(async |(n, found)| assert_eq!(found, Some(n)))
            .await;
        let check = async |n| assert_eq!((branch(n).await, OUTER.get()), ((n, Some(n)), Some(1)));
        stream::iter(10..14)
            .for_each_concurrent(3, in_own_context(check))
            .await;
        let (a, b) = (
            branch(20).in_current_context(),
            branch(21).in_current_context(),
        );
        assert_eq!(join(a, b).await, ((20, Some(20)), (21, Some(21))));
        assert_eq!((seen(), copy_context().len()), ((Some(1), None, None), 1));
    });
}
