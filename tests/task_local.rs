//! `task_local!`: what tokio's do, on every runtime, and that what is spawned inherits.

use std::future::{self, Future};
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, thread};
use aiocontextvars::{Context, ContextExt, LocalKey, context_var, copy_context, task_local};

task_local! {
    static NUMBER: u64;
    /// A second one.
    #[allow(dead_code)]
    pub(crate) static NAME: String
}

task_local! {}

/// Runs a test's future on the event loop and on the runtimes that are compiled in, both flavours
/// of tokio among them.
fn on_each<F: Future<Output = ()>>(test: impl Fn() -> F) {
    EventLoop::new().run_until_complete(test());
    #[cfg(feature = "smol")]
    shim::smol::block_on(test());
    #[cfg(feature = "async-std")]
    shim::async_std::block_on(test());
    #[cfg(feature = "tokio")]
    {
        use tokio::runtime::Builder;
        use tokio::task::LocalSet;
        let multi_thread = Builder::new_multi_thread().worker_threads(2).build();
        let current_thread = Builder::new_current_thread().build().unwrap();
        multi_thread.unwrap().block_on(test());
        current_thread.block_on(test());
        LocalSet::new().block_on(&current_thread, test());
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut task::Context::from_waker(Waker::noop()))
}

fn message(f: impl FnOnce()) -> String {
    let payload = panic::catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

/// Counts its drops, and notes what [`NUMBER`] was there.
#[derive(Clone, Default)]
struct Drops(Arc<Mutex<Vec<Option<u64>>>>);

struct Dropped(Drops);

impl Drops {
    fn value(&self) -> Dropped {
        Dropped(self.clone())
    }

    #[track_caller]
    fn are(&self, expected: &[Option<u64>]) {
        assert_eq!(*self.0.lock().unwrap(), expected);
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        let number = NUMBER.try_get().ok();
        self.0.0.lock().unwrap().push(number);
    }
}

#[test]
fn scopes_nest_and_restore() {
    on_each(|| async {
        let outer = NUMBER.scope(1, async {
            assert_eq!(NUMBER.get(), 1);
            let inner = NUMBER.scope(2, async {
                shim::yield_now().await;
                assert_eq!(NUMBER.get(), 2);
                NUMBER.sync_scope(3, || assert_eq!(NUMBER.with(|number| *number), 3));
                assert_eq!(NUMBER.try_get(), Ok(2));
            });
            inner.await;
            assert_eq!(NUMBER.get(), 1);
            NAME.scope("a".to_owned(), async {
                assert_eq!((NUMBER.get(), NAME.get()), (1, "a".to_owned()));
            })
            .await;
            assert!(NAME.try_get().is_err());
        });
        outer.await;
        assert!(NUMBER.try_get().is_err());
        assert!(copy_context().is_empty());
    });
}

#[test]
fn outside_of_a_scope_there_is_no_value() {
    on_each(|| async {
        let error = NUMBER.try_get().unwrap_err();
        assert_eq!(NUMBER.try_with(|_| unreachable!()), Err::<(), _>(error));
        assert!(
            error
                .to_string()
                .starts_with("task-local `NUMBER` has no value here")
        );
        assert_eq!(message(|| _ = NUMBER.get()), error.to_string());
        assert_eq!(
            message(|| NUMBER.with(|_| unreachable!())),
            error.to_string()
        );
    });
}

#[test]
fn what_is_spawned_inherits() {
    on_each(|| async {
        let scope = NUMBER.scope(7, async {
            let task = shim::spawn(async {
                shim::yield_now().await;
                // A grandchild, on another thread.
                let job = shim::spawn_blocking(|| NUMBER.get());
                (NUMBER.get(), job.await.unwrap())
            });
            let shadowed = NUMBER.sync_scope(8, || shim::spawn(async { NUMBER.get() }));
            let called = Arc::new(Mutex::new(None));
            shim::call_soon({
                let called = Arc::clone(&called);
                move || *called.lock().unwrap() = Some(NUMBER.get())
            });
            let thread = thread::spawn(|| NUMBER.get());
            assert_eq!(task.await.unwrap(), (7, 7));
            assert_eq!(shadowed.await.unwrap(), 8);
            assert_eq!(thread.join().unwrap(), 7);
            while called.lock().unwrap().is_none() {
                shim::yield_now().await;
            }
            assert_eq!(*called.lock().unwrap(), Some(7));
            // Nothing is inherited on request.
            let none = shim::spawn_in(Context::new(), async { NUMBER.try_get().is_err() });
            assert!(none.await.unwrap());
        });
        scope.await;
        assert!(NUMBER.try_get().is_err());
    });
}

#[cfg(feature = "tokio")]
#[test]
fn a_bare_task_has_the_scope_that_it_was_given_and_no_other() {
    on_each(|| async {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let scope = NUMBER.scope(1, async {
            let bare = tokio::spawn(async { NUMBER.try_get().is_err() });
            let scoped = tokio::spawn(NUMBER.scope(2, async {
                shim::yield_now().await;
                let child = shim::spawn(async { NUMBER.get() });
                (NUMBER.get(), child.await.unwrap())
            }));
            // The name alone comes along, as it does with tokio's.
            let other = tokio::spawn(NAME.scope("a".to_owned(), async {
                (NAME.get(), NUMBER.try_get().is_err())
            }));
            assert!(bare.await.unwrap());
            assert_eq!(scoped.await.unwrap(), (2, 2));
            assert_eq!(other.await.unwrap(), ("a".to_owned(), true));
            NUMBER.get()
        });
        assert_eq!(scope.await, 1);
    });
}

#[test]
fn the_future_is_dropped_inside() {
    on_each(|| async {
        let drops = Drops::default();
        // Never polled, polled once, and completed: then before anybody could take the value.
        let future = |value| async move {
            let _value = value;
            future::pending::<()>().await;
        };
        drop(NUMBER.scope(1, future(drops.value())));
        drops.are(&[Some(1)]);
        let mut polled = Box::pin(NUMBER.scope(2, future(drops.value())));
        assert!(poll(polled.as_mut()).is_pending());
        drops.are(&[Some(1)]);
        drop(polled);
        drops.are(&[Some(1), Some(2)]);

        struct Completes(#[expect(dead_code, reason = "for its drop")] Dropped);
        impl Future for Completes {
            type Output = ();
            fn poll(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<()> {
                Poll::Ready(())
            }
        }
        let mut completed = Box::pin(NUMBER.scope(3, Completes(drops.value())));
        completed.as_mut().await;
        drops.are(&[Some(1), Some(2), Some(3)]);
        assert_eq!(completed.as_mut().take_value(), Some(3));
        drop(completed);
        drops.are(&[Some(1), Some(2), Some(3)]);

        // Of a task that is aborted.
        let task = NUMBER.sync_scope(4, || shim::spawn(future(drops.value())));
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        drops.are(&[Some(1), Some(2), Some(3), Some(4)]);
        assert!(NUMBER.try_get().is_err());
    });
}

static OBJECT: LocalKey<Dropped> = LocalKey::new("OBJECT");

#[test]
fn the_value_is_dropped_once_after_the_future_and_outside_of_the_scope() {
    let drops = Drops::default();
    let first = drops.value();
    let future = OBJECT.scope(
        drops.value(),
        NUMBER.scope(1, async move {
            let _first = first;
            OBJECT.with(|_| ());
        }),
    );
    smol::block_on(future);
    drops.are(&[Some(1), None]);
    OBJECT.sync_scope(drops.value(), || drops.are(&[Some(1), None]));
    drops.are(&[Some(1), None, None]);
}

#[test]
fn a_value_is_taken_out_once() {
    let drops = Drops::default();
    // It is no `Clone`: before the first poll, and after the last.
    let mut unpolled = Box::pin(OBJECT.scope(drops.value(), async { OBJECT.try_with(|_| ()) }));
    let value = unpolled.as_mut().take_value().unwrap();
    assert!(unpolled.as_mut().take_value().is_none());
    // Not even the outer scope's value is seen then.
    let result = OBJECT.sync_scope(drops.value(), || poll(unpolled.as_mut()));
    assert!(matches!(result, Poll::Ready(Err(_))));
    drops.are(&[None]);
    drop(value);
    drops.are(&[None, None]);

    let mut completed = Box::pin(OBJECT.scope(drops.value(), async { OBJECT.with(|_| ()) }));
    assert!(poll(completed.as_mut()).is_ready());
    let value = completed.as_mut().take_value().unwrap();
    assert!(completed.as_mut().take_value().is_none());
    drop(completed);
    drops.are(&[None, None]);
    drop(value);
    drops.are(&[None, None, None]);
}

#[test]
fn a_future_whose_value_is_taken_goes_on_without() {
    let mut future = Box::pin(NUMBER.scope(1, async {
        let before = NUMBER.try_get().ok();
        shim::yield_now().await;
        (before, NUMBER.try_get().ok())
    }));
    NUMBER.sync_scope(9, || {
        assert!(poll(future.as_mut()).is_pending());
        assert_eq!(future.as_mut().take_value(), Some(1));
        assert_eq!(poll(future.as_mut()), Poll::Ready((Some(1), None)));
        assert_eq!(NUMBER.get(), 9);
    });
}

#[test]
fn a_value_stays_while_a_task_has_it() {
    let event_loop = EventLoop::new();
    let drops = Drops::default();
    let mut scope = Box::pin(OBJECT.scope(drops.value(), async {
        let task = shim::spawn(async {
            shim::yield_now().await;
            OBJECT.with(|_| ());
        });
        (task,)
    }));
    event_loop.run_until_complete(async {
        let (task,) = scope.as_mut().await;
        assert!(scope.as_mut().take_value().is_none());
        task.await.unwrap();
    });
    let value = scope.as_mut().take_value();
    assert!(value.is_some());
    drops.are(&[]);
    drop(value);
    drops.are(&[None]);
}

#[test]
fn a_value_stays_while_a_copy_of_the_context_has_it() {
    let mut scope = Box::pin(NUMBER.scope(1, async { copy_context() }));
    let mut copy = smol::block_on(scope.as_mut());
    assert_eq!(scope.as_mut().take_value(), None);
    assert_eq!(copy.run(|| NUMBER.get()), 1);
    drop(copy);
    assert_eq!(scope.as_mut().take_value(), Some(1));
    assert_eq!(scope.as_mut().take_value(), None);
}

#[test]
fn a_scope_may_be_entered_while_a_value_is_read() {
    NAME.sync_scope("outer".to_owned(), || {
        NAME.with(|outer| {
            NAME.sync_scope("inner".to_owned(), || assert_eq!(NAME.get(), "inner"));
            let mut inner = pin!(NAME.scope("future".to_owned(), async { NAME.get() }));
            assert_eq!(poll(inner.as_mut()), Poll::Ready("future".to_owned()));
            assert_eq!(outer, "outer");
        });
    });
}

#[test]
fn other_keys_stay_as_they_are_at_the_first_poll() {
    let read = || (NUMBER.get(), NAME.get());
    let mut future = Box::pin(NUMBER.scope(1, async move {
        let first = read();
        shim::yield_now().await;
        (first, read())
    }));
    NAME.sync_scope("first".to_owned(), || {
        assert!(poll(future.as_mut()).is_pending())
    });
    let seen = NAME.sync_scope("second".to_owned(), || poll(future.as_mut()));
    let first = (1, "first".to_owned());
    assert_eq!(seen, Poll::Ready((first.clone(), first)));
    assert!(NAME.try_get().is_err());
}

#[test]
fn the_debug_output_of_a_scope_has_no_value() {
    let text = format!("{:?}", NAME.scope("secret".to_owned(), async {}));
    assert!(text.contains("NAME") && !text.contains("secret"), "{text}");
}

#[test]
fn a_panic_restores_what_was_around() {
    let result = NUMBER.sync_scope(1, || {
        let inner = || NUMBER.sync_scope(2, || panic!("{}", NUMBER.get()));
        assert_eq!(message(inner), "2");
        let mut future = Box::pin(NUMBER.scope(3, async { panic!("{}", NUMBER.get()) }));
        assert_eq!(message(|| _ = poll(future.as_mut())), "3");
        NUMBER.get()
    });
    assert_eq!(result, 1);
    assert!(NUMBER.try_get().is_err());
}

#[test]
fn a_scope_that_has_completed_is_not_polled_again() {
    let mut future = Box::pin(NUMBER.scope(1, async {}));
    assert!(poll(future.as_mut()).is_ready());
    assert!(message(|| _ = poll(future.as_mut())).contains("polled after it had completed"));
    assert_eq!(future.as_mut().take_value(), Some(1));
}

#[test]
fn declarations_keep_attributes_visibility_and_names() {
    mod elsewhere {
        aiocontextvars::task_local! {
            #[cfg(any())]
            static NUMBER: NoSuchType;
            /// The same name as another.
            pub(super) static NUMBER: u64;
            #[allow(non_upper_case_globals)]
            pub(super) static r#type: &'static str;
        }
    }
    let seen = NUMBER.sync_scope(1, || {
        elsewhere::NUMBER.sync_scope(2, || (NUMBER.get(), elsewhere::NUMBER.get()))
    });
    assert_eq!(seen, (1, 2));
    let error = elsewhere::r#type.try_get().unwrap_err();
    assert!(error.to_string().contains("`type`"));
    assert_eq!(format!("{NUMBER:?}"), "LocalKey { .. }");
    let future = NUMBER.scope(1, async {});
    assert_eq!(
        format!("{future:?}"),
        "TaskLocalFuture { key: \"NUMBER\", .. }"
    );
}

#[test]
fn variables_and_task_locals_go_together() {
    context_var! { static LEVEL: u8; }
    let seen = smol::block_on(LEVEL.scope(
        1,
        NUMBER.scope(2, async {
            LEVEL.set(3);
            let bound = async { (LEVEL.get(), NUMBER.get()) }.in_current_context();
            bound.await
        }),
    ));
    assert_eq!(seen, (Some(3), 2));
    assert_eq!(LEVEL.get(), None);
}

#[test]
fn values_are_shared_with_tasks() {
    static CALLS: LocalKey<AtomicUsize> = LocalKey::new("CALLS");
    let mut scope = Box::pin(CALLS.scope(AtomicUsize::new(0), async {
        let add = || CALLS.with(|calls| calls.fetch_add(1, Ordering::Relaxed));
        shim::spawn(async move { add() }).await.unwrap();
        add();
    }));
    EventLoop::new().run_until_complete(scope.as_mut());
    assert_eq!(scope.as_mut().take_value().unwrap().into_inner(), 2);
}
