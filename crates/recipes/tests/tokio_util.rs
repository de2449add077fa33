//! tokio-util: its tracker of tasks, and its pool for tasks that stay on a thread.

mod common;

use std::rc::Rc;
use std::sync::Arc;

use aiocontextvars::{ContextExt, context_var, inherit_context, shim};
use tokio::sync::mpsc;
use tokio_util::task::{LocalPoolHandle, TaskTracker};

use common::{TENANT, tenant};

context_var! {
    static HELD: Arc<()>;
}

#[tokio::test]
async fn tracked_tasks_inherit() {
    let tracker = TaskTracker::new();
    let seen = TENANT.scope("acme".to_owned(), async {
        let inherits = shim::spawn(tracker.track_future(tenant()));
        let along = tracker.spawn(tenant().in_current_context());
        let job = tracker.spawn_blocking(shim::bind(|| TENANT.get()));
        let bare = tracker.spawn(tenant());
        let seen = (inherits.await, along.await, job.await, bare.await);
        (
            seen.0.unwrap(),
            seen.1.unwrap(),
            seen.2.unwrap(),
            seen.3.unwrap(),
        )
    });
    let acme = || "acme".to_owned();
    assert_eq!(seen.await, (acme(), acme(), acme(), "nobody".to_owned()));
    tracker.close();
    tracker.wait().await;
}

/// Says on drop whose it is.
struct Tells(mpsc::UnboundedSender<String>);

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.0.send(TENANT.get());
    }
}

#[tokio::test]
async fn the_tracker_waits_for_an_aborted_task_whose_destructors_run_in_its_context() {
    let tracker = TaskTracker::new();
    let (sender, mut told) = mpsc::unbounded_channel();
    let held = Arc::new(());
    let task = TENANT.sync_scope("acme".to_owned(), || {
        HELD.set(Arc::clone(&held));
        let tells = Tells(sender);
        shim::spawn(tracker.track_future(async move {
            let _tells = tells;
            std::future::pending::<()>().await
        }))
    });
    tokio::task::yield_now().await;
    assert_eq!((tracker.len(), Arc::strong_count(&held)), (1, 2));

    task.abort();
    tracker.close();
    tracker.wait().await;
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(told.recv().await.unwrap(), "acme");
    assert_eq!(told.recv().await, None);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test]
async fn a_task_that_is_pinned_to_a_thread_inherits() {
    async fn local() -> String {
        let tenant = Rc::new(TENANT.get());
        shim::yield_now().await;
        assert_eq!(*tenant, TENANT.get());
        String::clone(&tenant)
    }
    let pool = LocalPoolHandle::new(1);
    let (along, bare) = TENANT.sync_scope("acme".to_owned(), || {
        let context = inherit_context();
        let along = pool.spawn_pinned(|| local().in_context(context));
        (along, pool.spawn_pinned(local))
    });
    assert_eq!(along.await.unwrap(), "acme");
    // On the same thread, which keeps nothing.
    assert_eq!(bare.await.unwrap(), "nobody");
}
