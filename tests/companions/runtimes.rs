//! Hops that no row of the conformance suite has: rayon, bare runtimes around, two runtimes, bodies
//! of responses.

#[cfg(feature = "rayon")]
mod rayon_jobs {
    use aiocontextvars::{Context, ContextExt, shim};
    use rayon::prelude::*;

    use crate::{Ambient, Current};

    fn pool() -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new()
            .num_threads(2)
            .build()
            .unwrap()
    }

    #[test]
    fn jobs_and_parallel_iterators() {
        let (pool, one) = (pool(), Ambient::new(1));
        let on = shim::rayon::on(&pool);
        let (joined, mut items) = Current::around(&one, || {
            let joined = on.join(Current::number, || {
                shim::rayon::join(Current::number, Current::number)
            });
            let items = on.install(|context| {
                let iterator = (0..1000).into_par_iter().in_context(context.clone());
                iterator.map(|_| Current::number()).collect::<Vec<_>>()
            });
            (joined, items)
        });
        assert_eq!(joined, (Some(1), (Some(1), Some(1))));
        items.dedup();
        assert_eq!(items, [Some(1)]);
        let in_scope = std::sync::Mutex::new(Vec::new());
        Current::around(&one, || {
            on.scope(|scope| {
                scope.spawn(|_| in_scope.lock().unwrap().push(Current::number()));
                scope.spawn_in(Context::new(), |_| {
                    in_scope.lock().unwrap().push(Current::number())
                });
            });
        });
        let mut seen = in_scope.into_inner().unwrap();
        seen.sort();
        assert_eq!(seen, [None, Some(1)]);
        let left = pool.broadcast(|_| Current::number());
        assert_eq!((left, one.keepers()), (vec![None; 2], 0));
    }

    #[test]
    fn a_stolen_bare_job_finds_nothing() {
        // The only worker waits in a job that has something, and runs a bare job meanwhile.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let one = Ambient::new(1);
        let seen = std::sync::Mutex::new(Vec::new());
        Current::around(&one, || {
            shim::rayon::on(&pool).scope(|scope| {
                scope.spawn(|_| {
                    shim::rayon::scope(|_| {
                        rayon::spawn(|| ());
                    });
                    shim::rayon::apart(|_| {
                        rayon::scope(|bare| {
                            bare.spawn(|_| seen.lock().unwrap().push(Current::number()));
                        });
                    });
                    seen.lock().unwrap().push(Current::number());
                });
            });
        });
        assert_eq!(seen.into_inner().unwrap(), [None, Some(1)]);
    }
}

#[cfg(feature = "tokio")]
mod tokio_around {
    use aiocontextvars::{Context, ContextExt, copy_context, shim};
    use tokio::runtime::{Builder, Runtime};

    use crate::{Ambient, Current};

    fn runtimes() -> [Runtime; 2] {
        let multi = Builder::new_multi_thread().worker_threads(2).build();
        [
            Builder::new_current_thread().build().unwrap(),
            multi.unwrap(),
        ]
    }

    #[test]
    fn what_is_around_the_runtime_is_no_tasks_own() {
        let (one, two) = (Ambient::new(1), Ambient::new(2));
        for runtime in runtimes() {
            let handle = runtime.handle().clone();
            let executor = shim::ContextAwareExecutor::new(handle);
            let early = executor.spawn(async {
                shim::yield_now().await;
                Current::number()
            });
            let with_two = Current::around(&two, || executor.spawn(async { Current::number() }));
            let seen = Current::around(&one, || {
                runtime.block_on(async move {
                    let in_bare = async { Current::number() }.in_current_context();
                    let bare = tokio::spawn(in_bare);
                    (
                        early.await.unwrap(),
                        with_two.await.unwrap(),
                        bare.await.unwrap(),
                    )
                })
            });
            assert_eq!(seen, (None, Some(2), Some(1)));
            drop(runtime);
            assert_eq!((one.keepers(), two.keepers()), (0, 0));
        }
    }

    #[test]
    fn aborted_and_shut_down_tasks_are_dropped_with_theirs() {
        use std::sync::{Arc, Mutex};
        struct Sees(Arc<Mutex<Vec<Option<u64>>>>);
        impl Drop for Sees {
            fn drop(&mut self) {
                self.0.lock().unwrap().push(Current::number());
            }
        }
        let one = Ambient::new(1);
        for runtime in runtimes() {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let pends = || {
                let sees = Sees(Arc::clone(&seen));
                async move {
                    let _sees = sees;
                    std::future::pending::<()>().await;
                }
            };
            runtime.block_on(async {
                let aborted = Current::around(&one, || shim::tokio::spawn(pends()));
                let left = Current::around(&one, || shim::tokio::spawn(pends()));
                let wrapped = Current::around(&one, || tokio::spawn(pends().in_current_context()));
                shim::yield_now().await;
                aborted.abort();
                assert!(aborted.await.is_err());
                drop((left, wrapped));
            });
            drop(runtime);
            assert_eq!(*seen.lock().unwrap(), [Some(1); 3]);
            assert_eq!((one.keepers(), Current::number()), (0, None));
        }
    }

    #[test]
    fn a_fixed_context_keeps_them_out() {
        let one = Ambient::new(1);
        for runtime in runtimes() {
            let handle = runtime.handle().clone();
            let executor = shim::ContextAwareExecutor::fixed(handle, Context::new());
            let (spawned, here) = Current::around(&one, || {
                let task = executor.spawn(async { Current::number() });
                let here = executor.block_on(async { Current::number() });
                (runtime.block_on(task).unwrap(), here)
            });
            assert_eq!((spawned, here, one.keepers()), (None, None, 0));
        }
    }

    #[test]
    fn a_bare_task_captures_them_though_it_has_no_values() {
        let one = Ambient::new(1);
        let [runtime, _] = runtimes();
        let seen = runtime.block_on(async {
            let bare = tokio::spawn(async move {
                let task = Current::around(&one, || shim::spawn(async { Current::number() }));
                (copy_context().len(), task.await.unwrap())
            });
            bare.await.unwrap()
        });
        assert_eq!(seen, (0, Some(1)));
    }
}

#[cfg(all(feature = "http-body", feature = "tower"))]
mod response_bodies {
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::sync::{Arc, Mutex};
    use std::task::{self, Poll};

    use aiocontextvars::shim::tower::{ContextLayer, HttpContextLayer};
    use aiocontextvars::{Context, inherit_context, shim};
    use http_body_util::BodyExt;
    use hyper::body::{Body, Bytes, Frame};
    use test_support::axum::http::{Request, Response};
    use test_support::tower::{Layer, Service, service_fn};

    use crate::{Ambient, Current, Second};

    type Seen = Arc<Mutex<Vec<Option<u64>>>>;

    /// Notes what it finds when it is polled and dropped.
    struct Notes {
        frames: usize,
        seen: Seen,
    }

    impl Notes {
        fn note(&self) {
            self.seen.lock().unwrap().push(Current::number());
        }
    }

    impl Body for Notes {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut task::Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.note();
            let left = self.frames.checked_sub(1);
            self.frames = left.unwrap_or_default();
            Poll::Ready(left.map(|_| Ok(Frame::data(Bytes::new()))))
        }
    }

    impl Drop for Notes {
        fn drop(&mut self) {
            self.note();
        }
    }

    /// Notes what it finds, and answers with [`Notes`].
    fn answers(
        seen: &Seen,
    ) -> impl Service<Request<()>, Response = Response<Notes>, Error = Infallible, Future: 'static>
    {
        let seen = Arc::clone(seen);
        service_fn(move |_: Request<()>| {
            let seen = Arc::clone(&seen);
            async move {
                let notes = Notes { frames: 2, seen };
                notes.note();
                Ok(Response::new(notes))
            }
        })
    }

    #[test]
    fn have_what_was_current_around_the_layer_until_they_end_or_are_dropped() {
        let (one, seen) = (Ambient::new(1), Seen::default());
        let mut service = HttpContextLayer::new().layer(answers(&seen));
        let mut respond = || {
            let response = service.call(Request::new(()));
            Current::around(&one, || shim::block_on(response))
                .unwrap()
                .into_body()
        };
        let (read, left) = (respond(), respond());
        assert_eq!(one.keepers(), 2);
        // As the task of a connection.
        let thread = std::thread::spawn(|| shim::block_on(read.collect()).unwrap());
        assert_eq!(thread.join().unwrap().to_bytes().len(), 0);
        assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), [Some(1); 6]);
        drop(left);
        assert_eq!(*seen.lock().unwrap(), [Some(1)]);
        assert_eq!((one.keepers(), Current::number()), (0, None));
    }

    #[test]
    fn have_it_in_a_context_that_was_made_without_a_capture() {
        let (one, two) = (Ambient::new(1), Ambient::new(2));
        let base = Current::around(&two, inherit_context).without_companions();
        let captured = Current::around(&two, inherit_context);
        for (given, expected) in [(Context::new(), 1), (base, 1), (captured, 2)] {
            let seen = Seen::default();
            let make = move |_: &Request<()>| given.clone();
            let mut service = HttpContextLayer::with(make).layer(answers(&seen));
            let response = service.call(Request::new(()));
            let response = Current::around(&one, || shim::block_on(response));
            let body = response.unwrap().into_body();
            drop(shim::block_on(body.collect()).unwrap());
            assert_eq!(*seen.lock().unwrap(), [Some(expected); 5]);
        }
        assert_eq!((one.keepers(), two.keepers()), (0, 0));
    }

    #[test]
    fn requests_have_what_is_current_where_they_are_polled_and_not_at_the_call() {
        // One companion has nothing at the call, and the other one something else.
        async fn check(
            mut service: impl Service<(), Response = [Option<u64>; 2], Error = Infallible>,
        ) {
            let (one, two) = (Ambient::new(1), Ambient::new(2));
            let response = Second::around(&one, || service.call(()));
            let mut response = pin!(response);
            let polled = poll_fn(|cx| {
                Second::around(&two, || {
                    Current::around(&one, || response.as_mut().poll(cx))
                })
            });
            assert_eq!(polled.await, Ok([Some(1), Some(2)]));
        }
        let both = || service_fn(async |()| Ok([Current::number(), Second::number()]));
        shim::block_on(check(ContextLayer::new().layer(both())));
        let given = ContextLayer::with(|()| Context::new());
        shim::block_on(check(given.layer(both())));

        let (one, two) = (Ambient::new(1), Ambient::new(2));
        let seen = Seen::default();
        let mut service = HttpContextLayer::new().layer(answers(&seen));
        let response = Current::around(&two, || service.call(Request::new(())));
        let response = Current::around(&one, || shim::block_on(response));
        drop(response.unwrap());
        assert_eq!(*seen.lock().unwrap(), [Some(1), Some(1)]);
        assert_eq!((one.keepers(), two.keepers()), (0, 0));
    }
}
