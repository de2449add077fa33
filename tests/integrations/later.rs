//! Closures that somebody keeps and calls: by value, by reference, with arguments that borrow, and
//! more than once.

use std::cmp::Ordering;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use aiocontextvars::{ContextExt, inherit_context, shim};

use super::{TENANT, elsewhere, for_acme};

/// Such as a web socket, which a server hands over when the response has gone.
struct Upgraded(u8);

type OnUpgrade = Box<dyn FnOnce(Upgraded) -> Pin<Box<dyn Future<Output = String> + Send>> + Send>;

/// As axum's and warp's `on_upgrade`: the future is spawned by the server.
fn on_upgrade<F>(f: impl FnOnce(Upgraded) -> F + Send + 'static) -> OnUpgrade
where
    F: Future<Output = String> + Send + 'static,
{
    Box::new(|upgraded| Box::pin(f(upgraded)))
}

async fn serve(upgraded: Upgraded) -> String {
    let before = TENANT.get();
    shim::yield_now().await;
    format!("{} {before:?} {:?}", upgraded.0, TENANT.get())
}

#[test]
fn an_upgrade_is_served_in_the_context_of_its_request() {
    let upgrade = for_acme(|| {
        let context = inherit_context();
        on_upgrade(|upgraded| serve(upgraded).in_context(context))
    });
    let served = elsewhere(|| futures::executor::block_on(upgrade(Upgraded(7))));
    assert_eq!(served, "7 Some(\"acme\") Some(\"acme\")");

    // Captured where the closure runs, it is nobody's.
    let late = for_acme(|| on_upgrade(|upgraded| serve(upgraded).in_current_context()));
    let served = elsewhere(|| futures::executor::block_on(late(Upgraded(7))));
    assert_eq!(served, "7 None None");
}

/// A connection of a pool, which runs closures on the thread that has it.
#[derive(Default)]
struct Connection {
    tenants: Vec<Option<&'static str>>,
}

/// As deadpool's and diesel's `interact`.
#[derive(Clone, Default)]
struct Pooled(Arc<Mutex<Connection>>);

impl Pooled {
    fn interact<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Connection) -> R + Send + 'static,
    ) -> R {
        let connection = Arc::clone(&self.0);
        elsewhere(move || f(&mut connection.lock().unwrap()))
    }
}

#[test]
fn a_closure_with_a_connection_runs_in_the_callers_context() {
    let pool = Pooled::default();
    for tenant in ["acme", "umbrella"] {
        TENANT.sync_scope(tenant, || {
            let context = inherit_context();
            let count = pool.interact(move |connection| {
                context.call(|| {
                    connection.tenants.push(TENANT.get());
                    TENANT.set("set inside");
                    connection.tenants.len()
                })
            });
            assert!(count > 0);
            assert_eq!(TENANT.get(), Some(tenant));
        });
    }
    // Without the recipe there is none.
    pool.interact(|connection| connection.tenants.push(TENANT.get()));
    let seen = pool.0.lock().unwrap().tenants.clone();
    assert_eq!(seen, [Some("acme"), Some("umbrella"), None]);
}

struct Event<'a>(&'a str);

type Listener = Box<dyn Fn(&Event<'_>) -> String + Send + Sync>;

#[test]
fn a_listener_hears_each_event_in_its_own_copy() {
    let listener: Listener = for_acme(|| {
        let context = inherit_context();
        Box::new(move |event: &Event<'_>| {
            context.call(|| {
                let tenant = TENANT.get();
                TENANT.set("set by an event before");
                format!("{} {tenant:?}", event.0)
            })
        })
    });
    let heard = elsewhere(move || ["a", "b"].map(|name| listener(&Event(name))));
    assert_eq!(heard, ["a Some(\"acme\")", "b Some(\"acme\")"]);
}

#[test]
fn a_listener_that_remembers_has_one_context_over_all_events() {
    let mut listener = for_acme(|| {
        shim::bind_mut(|name: &'static str| {
            let tenant = TENANT.get();
            TENANT.set(name);
            tenant
        })
    });
    let heard = elsewhere(move || ["a", "b", "c"].map(&mut listener));
    assert_eq!(heard, [Some("acme"), Some("a"), Some("b")]);
}

#[test]
fn a_comparator_reads_who_sorts() {
    let compare = for_acme(|| {
        let context = inherit_context();
        move |a: &&str, b: &&str| -> Ordering {
            // The tenant's own first.
            context.call(|| {
                let is_own = |name: &str| Some(name) == TENANT.get();
                is_own(b).cmp(&is_own(a)).then_with(|| a.cmp(b))
            })
        }
    });
    let sorted = elsewhere(move || {
        let mut names = ["zoo", "acme", "bar"];
        names.sort_by(compare);
        names
    });
    assert_eq!(sorted, ["acme", "bar", "zoo"]);
}

#[test]
fn a_task_that_is_pinned_to_a_thread_of_a_pool_inherits() {
    /// As tokio-util's `spawn_pinned`: what is sent makes the future, which stays on its thread.
    fn spawn_pinned<F: Future<Output: Send + 'static>>(
        make: impl FnOnce() -> F + Send + 'static,
    ) -> F::Output {
        elsewhere(|| futures::executor::block_on(make()))
    }
    async fn local() -> Option<&'static str> {
        let tenant = std::rc::Rc::new(TENANT.get());
        shim::yield_now().await;
        assert_eq!(*tenant, TENANT.get());
        *tenant
    }
    let seen = TENANT.sync_scope("acme", || {
        let context = inherit_context();
        spawn_pinned(|| local().in_context(context))
    });
    assert_eq!(seen, Some("acme"));
}

#[test]
fn a_pool_of_threads_runs_bound_jobs() {
    let pool = threadpool::ThreadPool::new(2);
    let (sender, receiver) = std::sync::mpsc::channel();
    for tenant in ["acme", "umbrella"] {
        let sender = sender.clone();
        TENANT.sync_scope(tenant, || {
            pool.execute(shim::bind(move || sender.send(TENANT.get()).unwrap()));
        });
    }
    pool.execute(move || sender.send(TENANT.get()).unwrap());
    let mut seen: Vec<_> = receiver.iter().collect();
    seen.sort();
    assert_eq!(seen, [None, Some("acme"), Some("umbrella")]);
}

#[test]
fn a_lazy_iterator_is_worked_off_in_the_context_that_made_it() {
    let tenants = for_acme(|| (0..2).map(|_| TENANT.get()).in_current_context());
    assert_eq!(elsewhere(|| tenants.collect::<Vec<_>>()), [Some("acme"); 2]);
}
