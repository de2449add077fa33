//! Rows TG: task groups, and sets of tasks.

use std::future;
use std::panic::{self, AssertUnwindSafe};

use aiocontextvars::shim::{self, JoinSet, TaskFailure, TaskGroup, TaskGroupError};
use aiocontextvars::{Context, SharedContext};
use futures::channel::oneshot;
use futures::{FutureExt, StreamExt};

use crate::executor::On;
use crate::fixtures::{Drops, HELD, ID, Log, SeesOnDrop, until};
use crate::harness::boxed;

type Failure = &'static str;

fn errors(error: TaskGroupError<Failure>) -> Vec<Failure> {
    let failures = error.into_failures().into_iter();
    failures
        .map(|failure| match failure {
            TaskFailure::Error(error) => error,
            TaskFailure::Panic(error) => error.into_panic().downcast_ref::<Failure>().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn panics_with(text: Failure) -> Result<(), Failure> {
    panic::resume_unwind(Box::new(text))
}

pub(crate) fn tg_01_children_inherit_from_the_spawner(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let seen = TaskGroup::scope(async |group: TaskGroup<Failure>| {
            ID.set(2);
            let first = group.spawn(boxed(async {
                let before = ID.get();
                ID.set(9);
                shim::yield_now().await;
                Ok((before, ID.get()))
            }));
            ID.set(3);
            let second = group.spawn(boxed(async {
                let grandchild = shim::spawn(boxed(async { ID.get() }));
                Ok((ID.get(), grandchild.await.unwrap()))
            }));
            ID.set(4);
            Ok((
                first.await.unwrap().unwrap(),
                second.await.unwrap().unwrap(),
            ))
        })
        .await;
        let expected = ((Some(2), Some(9)), (Some(3), Some(3)));
        assert_eq!(seen.unwrap(), expected);
        // The body is no task.
        assert_eq!(ID.get(), Some(4));
    });
}

pub(crate) fn tg_02_in_a_given_context(on: On) {
    on.start().block_on(async {
        let shared = SharedContext::new();
        let group = TaskGroup::<Failure>::new();
        let first = group.spawn_in(
            &shared,
            boxed(async {
                ID.set(1);
                Ok(())
            }),
        );
        first.await.unwrap().unwrap();
        assert_eq!(shared.get(&ID), Some(1));
        let second = group.spawn_in(
            &shared,
            boxed(async {
                let before = ID.get();
                ID.set(2);
                Ok(before)
            }),
        );
        let empty = group.spawn_in(Context::new(), boxed(async { Ok(ID.get()) }));
        assert_eq!(second.await.unwrap(), Some(Some(1)));
        assert_eq!(empty.await.unwrap(), Some(None));
        group.join().await.unwrap();
        assert_eq!(shared.get(&ID), Some(2));
    });
}

pub(crate) fn table_group_the_first_failure_aborts_the_rest(on: On) {
    on.start().block_on(async {
        let (seen, drops) = (Log::new(), Drops::new());
        let (probe, body) = (SeesOnDrop(seen.clone()), drops.value());
        let (go, going) = oneshot::channel::<()>();
        ID.set(1);
        let outcome = TaskGroup::scope(async |group: TaskGroup<Failure>| {
            let _body = body;
            let pending = group.spawn(boxed(async move {
                let _probe = probe;
                future::pending::<Result<(), _>>().await
            }));
            pending.detach();
            ID.set(2);
            let fails = group.spawn(boxed(async move {
                going.await.unwrap();
                Err::<(), _>("first")
            }));
            fails.detach();
            go.send(()).unwrap();
            // The body is dropped here.
            future::pending::<Result<(), Failure>>().await
        })
        .await;
        assert_eq!(errors(outcome.unwrap_err()), ["first"]);
        // All have ended, in their contexts.
        assert_eq!((seen.take(), drops.count()), (vec![Some(1)], 1));
        assert_eq!(ID.get(), Some(2));
    });
}

pub(crate) fn table_group_failures_are_collected(on: On) {
    fn fails(group: &TaskGroup<Failure>, error: Failure) -> oneshot::Sender<()> {
        let (go, going) = oneshot::channel::<()>();
        let task = group.spawn(boxed(async move {
            let _ = going.await;
            Err::<(), _>(error)
        }));
        task.detach();
        go
    }
    on.start().block_on(async {
        // An error of the body, and a panic of a child.
        let mut never = None;
        let outcome = TaskGroup::scope(async |group: TaskGroup<Failure>| {
            never = Some(fails(&group, "never"));
            Err::<(), _>("body")
        })
        .await;
        assert_eq!(errors(outcome.unwrap_err()), ["body"]);
        let outcome = TaskGroup::scope(async |group: TaskGroup<Failure>| {
            let panics = group.spawn(boxed(async {
                shim::yield_now().await;
                panics_with("panic")
            }));
            // Whose handle tells that it failed, and leaves the why to the group.
            assert_eq!(panics.await.unwrap(), None);
            Ok(())
        })
        .await;
        assert_eq!(errors(outcome.unwrap_err()), ["panic"]);
        // A task that is aborted on its own has not failed.
        let outcome = TaskGroup::scope(async |group: TaskGroup<Failure>| {
            let aborted = group.spawn(boxed(future::pending::<Result<(), _>>()));
            aborted.abort();
            assert!(aborted.await.unwrap_err().is_cancelled());
            Ok(5)
        })
        .await;
        assert_eq!(outcome.unwrap(), 5);
        // Without a body: errors are kept until somebody asks.
        let group = TaskGroup::<Failure>::new();
        drop(fails(&group, "alone"));
        let error = group.join().await.unwrap_err();
        assert_eq!(error.to_string(), "1 task of the group failed: alone");
        assert_eq!(errors(error), ["alone"]);
    });
}

pub(crate) fn table_group_leaving_the_scope_waits(on: On) {
    on.start().block_on(async {
        let (values, drops) = (Drops::new(), Drops::new());
        let (go, going) = oneshot::channel::<()>();
        HELD.set(values.value());
        let held = drops.value();
        let mut scope = Box::pin(TaskGroup::scope(async |group: TaskGroup<Failure>| {
            let task = group.spawn(boxed(async move {
                let _held = held;
                going.await.unwrap();
                Ok(())
            }));
            task.detach();
            HELD.unset();
            Ok(1)
        }));
        for _ in 0..5 {
            assert!(futures::poll!(scope.as_mut()).is_pending());
            shim::yield_now().await;
        }
        assert_eq!((drops.count(), values.count()), (0, 0));
        go.send(()).unwrap();
        assert_eq!(scope.await.unwrap(), 1);
        assert_eq!(drops.count(), 1);
        // The context would be the handle's, and goes when the executor finds that there is none.
        until(|| values.count() == 1).await;
        // A panic of the body goes on when the tasks have ended.
        let held = drops.value();
        let scope = TaskGroup::scope(async |group: TaskGroup<Failure>| {
            let task = group.spawn(boxed(async move {
                let _held = held;
                future::pending::<Result<(), _>>().await
            }));
            task.detach();
            shim::yield_now().await;
            panics_with("body")
        });
        let payload = AssertUnwindSafe(scope).catch_unwind().await.unwrap_err();
        assert_eq!(payload.downcast_ref::<Failure>(), Some(&"body"));
        assert_eq!(drops.count(), 2);
    });
}

pub(crate) fn table_group_dropping_it_aborts(on: On) {
    on.start().block_on(async {
        let (seen, started) = (Log::new(), Log::new());
        let spawn = |group: &TaskGroup<Failure>| {
            let (probe, started) = (SeesOnDrop(seen.clone()), started.clone());
            group.spawn(boxed(async move {
                let _probe = probe;
                started.push(());
                future::pending::<Result<(), _>>().await
            }))
        };
        ID.set(1);
        let group = TaskGroup::new();
        let tasks = [spawn(&group), spawn(&group)];
        drop(group);
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        // A scope that is given up.
        ID.set(2);
        let (sender, mut receiver) = futures::channel::mpsc::unbounded();
        {
            let mut scope = Box::pin(TaskGroup::scope(async |group| {
                sender.unbounded_send(spawn(&group)).unwrap();
                future::pending::<Result<(), _>>().await
            }));
            assert!(futures::poll!(scope.as_mut()).is_pending());
        }
        let task = receiver.next().now_or_never().flatten().unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(seen.take(), [Some(1), Some(1), Some(2)]);
        // What is spawned in a group that has failed is not polled.
        let group = TaskGroup::new();
        group.abort();
        started.take();
        let late = spawn(&group).await;
        assert!(late.unwrap_err().is_cancelled());
        assert!(started.take().is_empty());
        group.join().await.unwrap();
    });
}

pub(crate) fn table_group_groups_nest(on: On) {
    on.start().block_on(async {
        let seen = Log::new();
        let inner = seen.clone();
        let (started, wait) = oneshot::channel();
        let outcome = TaskGroup::scope(async |group: TaskGroup<Failure>| {
            ID.set(1);
            let nested = boxed(async move {
                let probe = SeesOnDrop(inner);
                TaskGroup::scope(async move |group: TaskGroup<Failure>| {
                    ID.set(2);
                    let task = group.spawn(boxed(async move {
                        let _probe = probe;
                        started.send(()).unwrap();
                        future::pending::<Result<(), Failure>>().await
                    }));
                    task.await.unwrap();
                    Ok(())
                })
                .await
                .map_err(|_| "nested")
            });
            group.spawn(nested).detach();
            wait.await.unwrap();
            Err::<(), _>("outer")
        })
        .await;
        assert_eq!(errors(outcome.unwrap_err()), ["outer"]);
        // The inner group was dropped with the task that was in it, which aborts without waiting.
        until(|| !seen.is_empty()).await;
        assert_eq!(seen.take(), [Some(2)]);
    });
}

pub(crate) fn table_a_set_of_tasks(on: On) {
    on.start().block_on(async {
        let mut tasks = JoinSet::new();
        let mut gates = Vec::new();
        for n in 0..4 {
            let (go, going) = oneshot::channel::<()>();
            ID.set(n);
            tasks.spawn(boxed(async move {
                going.await.unwrap();
                ID.get()
            }));
            gates.push(go);
        }
        ID.set(100);
        assert_eq!(tasks.len(), 4);
        assert!(tasks.try_join_next().is_none());
        // In the order in which they end.
        for (n, go) in gates.into_iter().enumerate().rev() {
            go.send(()).unwrap();
            let seen = tasks.join_next().await.unwrap().unwrap();
            assert_eq!(seen, Some(n as u64));
        }
        assert!(tasks.is_empty() && tasks.join_next().await.is_none());
        // Failures.
        let aborted = tasks.spawn(boxed(future::pending()));
        aborted.abort();
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        tasks.spawn(boxed(async { panic::resume_unwind(Box::new("no")) }));
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_panic());
        // The ends of a set.
        let seen = Log::new();
        let spawn = |tasks: &mut JoinSet<Option<u64>>| {
            let probe = SeesOnDrop(seen.clone());
            tasks.spawn(boxed(async move {
                let _probe = probe;
                future::pending().await
            }))
        };
        ID.set(1);
        spawn(&mut tasks);
        spawn(&mut tasks);
        tasks.shutdown().await;
        assert_eq!(seen.take(), [Some(1), Some(1)]);
        let task = spawn(&mut tasks);
        drop(tasks);
        until(|| task.is_finished()).await;
        assert_eq!(seen.take(), [Some(1)]);
        let mut tasks = JoinSet::new();
        let (done, wait) = oneshot::channel();
        tasks.spawn(boxed(async move {
            shim::yield_now().await;
            done.send(ID.get()).unwrap();
        }));
        tasks.detach_all();
        assert_eq!(wait.await, Ok(Some(1)));
        let mut outputs = (0..10)
            .map(|n| boxed(async move { n }))
            .collect::<JoinSet<_>>()
            .join_all()
            .await;
        outputs.sort();
        assert!(outputs.into_iter().eq(0..10));
    });
}
