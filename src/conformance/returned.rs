//! Rows TH-07 and GC-02: the context that a task ends in, and who has it.

use std::future;

use aiocontextvars::shim::{self, JoinHandle};
use aiocontextvars::{Context, Scoped, Token, context_var};
use futures::channel::oneshot;

use crate::conformance::fixtures::{Counted, Drops, HELD, ID, TENANT, until};
use crate::conformance::harness::Harness;

/// The payload of a panic.
const PANIC: &str = "on purpose";

context_var! {
    static INHERITED: u64;
    #[local]
    static OWN: u64;
}

async fn ended<T>(task: &JoinHandle<T>) {
    until(|| task.is_finished()).await;
}

pub(crate) fn th_07_a_task_gives_its_context_back<H: Harness>() {
    H::start().block_on(async {
        ID.set(1);
        INHERITED.set(2);
        let task = H::spawn(async {
            shim::yield_now().await;
            ID.set(3);
            OWN.set(4);
            "output"
        });
        INHERITED.set(5);
        let (output, mut context) = task.join_context().await.unwrap();
        assert_eq!(output, "output");
        let found = [&ID, &INHERITED, &OWN].map(|var| context.get(var).copied());
        assert_eq!(found, [Some(3), Some(2), Some(4)]);
        assert_eq!(context.len(), 3);
        // Explicitly: by itself nothing comes back.
        assert_eq!((ID.get(), INHERITED.get()), (Some(1), Some(5)));
        assert_eq!(OWN.get(), None);
        // It is a context as others are.
        assert_eq!(context.run(|| ID.get()), Some(3));
        let next = H::spawn_in(context, async { (ID.get(), OWN.get()) });
        assert_eq!(next.await.unwrap(), (Some(3), Some(4)));
    });
}

pub(crate) fn th_07_asked_for_at_any_time<H: Harness>() {
    H::start().block_on(async {
        let tasks: Vec<_> = (0..4).map(|n| H::spawn(async move { ID.set(n) })).collect();
        for (n, task) in (0..).zip(tasks) {
            ended(&task).await;
            // Who has an abort handle keeps nothing of it.
            let abort = (n % 2 == 0).then(|| task.abort_handle());
            let (_token, context) = task.join_context().await.unwrap();
            assert_eq!(context.get(&ID), Some(&n));
            assert!(abort.is_none_or(|abort| abort.is_finished()));
        }
    });
}

pub(crate) fn th_07_from_whatever_context<H: Harness>() {
    H::start().block_on(async {
        ID.set(1);
        let empty = H::spawn_in(Context::new(), async {});
        assert!(empty.join_context().await.unwrap().1.is_empty());
        let given = Context::new().with_value(&INHERITED, 2);
        let given = H::spawn_in(given, async { ID.set(3) });
        let (_token, context) = given.join_context().await.unwrap();
        assert_eq!(context.get(&ID), Some(&3));
        assert_eq!(context.get(&INHERITED), Some(&2));
        // Of a shared one it is a copy, taken at the end of the task.
        let shared = Context::new().with_value(&ID, 4).share();
        let task = H::spawn_in(&shared, async { ID.set(5) });
        ended(&task).await;
        shared.run(|| ID.set(6)).unwrap();
        let (_token, context) = task.join_context().await.unwrap();
        assert_eq!(context.get(&ID), Some(&5));
        assert_eq!((shared.get(&ID), ID.get()), (Some(6), Some(1)));
        let job = shim::spawn_blocking(|| {
            INHERITED.set(7);
            ID.get()
        });
        let (seen, context) = job.join_context().await.unwrap();
        assert_eq!((seen, context.get(&INHERITED)), (Some(1), Some(&7)));
        assert_eq!(INHERITED.get(), None);
    });
}

/// Tokens and guards of the task are of this context.
pub(crate) fn th_07_it_is_the_very_context<H: Harness>() {
    type Left = (Token<u64>, Scoped<'static, String>);
    H::start().block_on(async {
        let task = H::spawn(async {
            ID.set(1);
            (ID.set(2), TENANT.scoped("guarded".to_owned())) as Left
        });
        let ((token, guard), mut context) = task.join_context().await.unwrap();
        assert_eq!(context.get(&TENANT).map(String::as_str), Some("guarded"));
        context.run(|| {
            ID.reset(token).unwrap();
            drop(guard);
        });
        assert_eq!(context.get(&ID), Some(&1));
        assert_eq!(context.get(&TENANT), None);
    });
}

pub(crate) fn th_07_a_failed_task_has_none<H: Harness>() {
    H::start().block_on(async {
        let drops = Drops::new();
        HELD.set(drops.value());
        let panics = H::spawn(async {
            ID.set(1);
            std::panic::resume_unwind(Box::new(PANIC));
        });
        HELD.unset();
        let error = panics.join_context().await.map(|((), _)| ()).unwrap_err();
        assert_eq!(error.into_panic().downcast_ref(), Some(&PANIC));
        assert_eq!(drops.count(), 1);
        HELD.set(drops.value());
        let task = H::spawn(future::pending::<()>());
        HELD.unset();
        task.abort();
        let error = task.join_context().await.map(|_| ()).unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(drops.count(), 2);
    });
}

/// A task whose context has the only reference to a value, which is the number of `drops`.
fn holding<H: Harness>(drops: &Drops) -> JoinHandle<()> {
    HELD.set(drops.value());
    let task = H::spawn(async {
        shim::yield_now().await;
        assert!(HELD.with(|held: Option<&Counted>| held.is_some()));
    });
    HELD.unset();
    task
}

pub(crate) fn gc_02_a_context_goes_with_its_tasks_handle<H: Harness>() {
    H::start().block_on(async {
        let drops = Drops::new();
        holding::<H>(&drops).await.unwrap();
        assert_eq!(drops.count(), 1, "awaited");

        let task = holding::<H>(&drops);
        ended(&task).await;
        assert_eq!(drops.count(), 1, "somebody may ask for it");
        drop(task);
        assert_eq!(drops.count(), 2, "nobody did");

        // When the task ends, if nobody can ask.
        let task = holding::<H>(&drops);
        let abort = task.abort_handle();
        task.detach();
        until(|| drops.count() == 3).await;
        drop(abort);
        assert_eq!(drops.count(), 3);

        let ((), context) = holding::<H>(&drops).join_context().await.unwrap();
        assert_eq!(drops.count(), 3);
        drop(context);
        assert_eq!(drops.count(), 4);

        let (hold, held) = oneshot::channel::<()>();
        HELD.set(drops.value());
        let waiting = H::spawn(async { held.await.is_err() });
        HELD.unset();
        // Dropped while it waits, which detaches the task.
        drop(waiting.join_context());
        assert_eq!(drops.count(), 4);
        drop(hold);
        until(|| drops.count() == 5).await;
    });
}
