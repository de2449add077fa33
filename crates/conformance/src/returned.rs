//! Rows TH-07 and GC-02: how what a task has set comes back, and what a task that has ended keeps.

use aiocontextvars::shim;
use aiocontextvars::{Context, context_var, copy_context};
use futures::channel::oneshot;

use crate::executor::{On, Task};
use crate::fixtures::{Counted, Drops, HELD, ID, until};

context_var! {
    static INHERITED: u64;
    #[local]
    static OWN: u64;
}

async fn ended<T>(task: &Task<T>) {
    until(|| task.is_finished()).await;
}

pub(crate) fn th_07_a_task_gives_its_context_back(on: On) {
    on.start().block_on(async {
        ID.set(1);
        INHERITED.set(2);
        let task = on.spawn(async {
            shim::yield_now().await;
            ID.set(3);
            OWN.set(4);
            ("output", copy_context())
        });
        INHERITED.set(5);
        let (output, mut context) = task.await.unwrap();
        assert_eq!(output, "output");
        let found = [&ID, &INHERITED, &OWN].map(|var| context.get(var).copied());
        assert_eq!(found, [Some(3), Some(2), Some(4)]);
        assert_eq!(context.len(), 3);
        // Explicitly: nothing comes back unless it is asked for.
        assert_eq!((ID.get(), INHERITED.get()), (Some(1), Some(5)));
        assert_eq!(OWN.get(), None);
        // It is a context as others are.
        assert_eq!(context.run(|| ID.get()), Some(3));
        let next = on.spawn_in(context.clone(), async { (ID.get(), OWN.get()) });
        assert_eq!(next.await.unwrap(), (Some(3), Some(4)));
        // What is adopted is what belongs to the request.
        context.apply();
        assert_eq!((ID.get(), INHERITED.get()), (Some(3), Some(2)));
        assert_eq!(OWN.get(), None);
    });
}

pub(crate) fn th_07_from_whatever_context(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let empty = on.spawn_in(Context::new(), async { copy_context() });
        assert!(empty.await.unwrap().is_empty());
        // Of a shared one it is a copy, taken when it is asked for.
        let shared = Context::new().with_value(&ID, 4).share();
        let task = on.spawn_in(&shared, async {
            ID.set(5);
            copy_context()
        });
        ended(&task).await;
        shared.run(|| ID.set(6)).unwrap();
        assert_eq!(task.await.unwrap().get(&ID), Some(&5));
        assert_eq!((shared.get(&ID), ID.get()), (Some(6), Some(1)));
        let job = shim::spawn_blocking(|| {
            INHERITED.set(7);
            (ID.get(), copy_context())
        });
        let (seen, context) = job.await.unwrap();
        assert_eq!((seen, context.get(&INHERITED)), (Some(1), Some(&7)));
        assert_eq!(INHERITED.get(), None);
    });
}

/// A task whose context has the only reference to a value, which is the number of `drops`.
fn holding(on: On, drops: &Drops) -> Task<()> {
    HELD.set(drops.value());
    let task = on.spawn(async {
        shim::yield_now().await;
        assert!(HELD.with(|held: Option<&Counted>| held.is_some()));
    });
    HELD.unset();
    task
}

pub(crate) fn gc_02_a_task_that_has_ended_keeps_nothing(on: On) {
    on.start().block_on(async {
        let drops = Drops::new();
        let task = holding(on, &drops);
        ended(&task).await;
        until(|| drops.count() == 1).await;
        // Whoever has the handle has the output, and nothing else.
        task.await.unwrap();

        let task = holding(on, &drops);
        let abort = task.abort_handle();
        task.detach();
        until(|| drops.count() == 2).await;
        drop(abort);

        let (hold, held) = oneshot::channel::<()>();
        HELD.set(drops.value());
        let waiting = on.spawn(async { held.await.is_err() });
        HELD.unset();
        drop(waiting);
        assert_eq!(drops.count(), 2);
        drop(hold);
        until(|| drops.count() == 3).await;
    });
}
