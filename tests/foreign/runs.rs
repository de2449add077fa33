//! Executors that are run for a `block_on` of the shim: the tasks that others have given to them run
//! there, and have nothing to do with the caller's context.

use std::rc::Rc;

use aiocontextvars::shim::ContextAwareExecutor;
use aiocontextvars::{Context, ContextExt, SetErrorKind, shim};

use super::fixtures::ID;

/// What a task of somebody else's finds, and whether it may write.
fn look() -> (Option<u64>, Option<SetErrorKind>) {
    let refused = ID.try_set(100).err();
    (ID.get(), refused.map(|error| error.kind()))
}

const NOTHING: (Option<u64>, Option<SetErrorKind>) = (None, Some(SetErrorKind::ForeignTask));

#[cfg(feature = "smol")]
#[test]
fn tasks_of_others_on_smols_executor() {
    use std::sync::Arc;

    let executor = Arc::new(smol::Executor::new());
    let aware = ContextAwareExecutor::new(Arc::clone(&executor));
    let bare = executor.spawn(async { look() });
    let mut context = Context::new().with_value(&ID, 1);
    context.run(|| {
        let seen = aware.block_on(async { (bare.await, ID.get()) });
        assert_eq!(seen, (NOTHING, Some(1)));
        assert_eq!(ID.get(), Some(1));
    });
    // In a task of the shim.
    let bare = executor.spawn(async { look() });
    let task = shim::smol::spawn(async move {
        ID.set(2);
        (aware.block_on(bare), ID.get())
    });
    assert_eq!(smol::block_on(task).unwrap(), (NOTHING, Some(2)));
}

#[cfg(feature = "smol")]
#[test]
fn tasks_of_others_on_smols_executor_that_is_run_in_a_shared_context() {
    use std::sync::Arc;

    let executor = Arc::new(smol::Executor::new());
    let aware = ContextAwareExecutor::new(Arc::clone(&executor));
    let shared = Context::new().with_value(&ID, 1).share();
    let bare = executor.spawn(async {
        let copies = aiocontextvars::copy_context().len() + aiocontextvars::inherit_context().len();
        (look(), copies)
    });
    // Work in the very context runs there as well.
    let own = executor.spawn(async { (ID.get(), ID.set(2)).0 }.in_context(&shared));
    let seen = shared.run(|| {
        let seen = aware.block_on(async { (bare.await, own.await, ID.get()) });
        (seen, ID.get())
    });
    assert_eq!(seen.unwrap(), (((NOTHING, 0), Some(1), Some(1)), Some(2)));
    assert_eq!(shared.get(&ID), Some(2));
}

#[cfg(feature = "tokio")]
#[test]
fn tasks_of_others_on_a_local_set_that_is_run_in_a_shared_context() {
    use tokio::task::LocalSet;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let set = Rc::new(LocalSet::new());
    let aware = ContextAwareExecutor::new(Rc::clone(&set));
    let shared = Context::new().with_value(&ID, 1).share();
    let bare = set.spawn_local(async { look() });
    let own = set.spawn_local(async { (ID.get(), ID.set(2)).0 }.in_context(&shared));
    let seen = shared.run(|| {
        let both = async { (bare.await.unwrap(), own.await.unwrap(), ID.get()) };
        let seen = aware.block_on_local(both);
        (seen, ID.get())
    });
    assert_eq!(seen.unwrap(), ((NOTHING, Some(1), Some(1)), Some(2)));
    assert_eq!(shared.get(&ID), Some(2));
}

#[cfg(feature = "smol")]
#[test]
fn tasks_that_an_earlier_request_has_left() {
    let executor = Rc::new(smol::LocalExecutor::new());
    let aware = ContextAwareExecutor::new(Rc::clone(&executor));
    let request = |id, left: bool| {
        ID.sync_scope(id, || {
            let executor = Rc::clone(&executor);
            let inside = aware.block_on_local(async move {
                let left = left.then(|| executor.spawn(async { look() }));
                (left, ID.get())
            });
            (inside, ID.get())
        })
    };
    let ((left, inside), outside) = request(1, true);
    assert_eq!((inside, outside), (Some(1), Some(1)));
    let left = left.unwrap();
    ID.sync_scope(2, || {
        let seen = aware.block_on_local(async { (left.await, ID.get()) });
        assert_eq!((seen, ID.get()), ((NOTHING, Some(2)), Some(2)));
    });
}

#[cfg(feature = "smol")]
#[test]
fn a_shared_context_may_be_entered_again_by_what_is_run() {
    let aware = ContextAwareExecutor::new(Rc::new(smol::LocalExecutor::new()));
    let shared = Context::new().with_value(&ID, 1).share();
    let seen = shared.run(|| {
        aware.block_on_local(async {
            let task = aware.spawn_local_in(&shared, async { ID.set(2) });
            task.await.map(drop)
        })
    });
    assert_eq!(seen.unwrap().map_err(|error| error.is_cancelled()), Ok(()));
    assert_eq!(shared.get(&ID), Some(2));
}

#[cfg(feature = "tokio")]
#[test]
fn tasks_of_others_on_a_local_set() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    let _entered = runtime.enter();
    let set = Rc::new(tokio::task::LocalSet::new());
    let aware = ContextAwareExecutor::new(Rc::clone(&set));
    let bare = set.spawn_local(async { look() });
    Context::new().with_value(&ID, 1).run(|| {
        let seen = aware.block_on_local(async { (bare.await.unwrap(), ID.get()) });
        assert_eq!((seen, ID.get()), ((NOTHING, Some(1)), Some(1)));
    });
}

/// What a request has entered does not count for the next one, whose task runs on the same thread.
#[cfg(feature = "tokio")]
#[test]
fn an_executor_that_another_task_has_entered() {
    use aiocontextvars::ContextExt;
    use futures::channel::oneshot;

    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let set = tokio::task::LocalSet::new();
    let (go, wait) = oneshot::channel::<()>();
    let (end, ended) = oneshot::channel::<()>();
    let of = |id| Context::new().with_value(&ID, id);
    set.block_on(&runtime, async {
        let first = async move {
            let handle = tokio::runtime::Handle::current();
            let background = ContextAwareExecutor::fixed(handle, of(1));
            let _entered = background.enter();
            go.send(()).unwrap();
            ended.await.unwrap();
        };
        let second = async move {
            wait.await.unwrap();
            let child = shim::spawn(async { ID.get() }).await.unwrap();
            let job = shim::spawn_blocking(|| ID.get()).await.unwrap();
            let (called, call) = oneshot::channel();
            shim::call_soon(move || called.send(ID.get()).unwrap());
            let seen = [ID.get(), child, job, call.await.unwrap()];
            end.send(()).unwrap();
            seen
        };
        let first = tokio::task::spawn_local(first.in_context(of(1)));
        let second = tokio::task::spawn_local(second.in_context(of(2)));
        assert_eq!(second.await.unwrap(), [Some(2); 4]);
        first.await.unwrap();
    });
}
