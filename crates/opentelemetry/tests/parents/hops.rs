//! Every kind of work, inside a request.

use std::time::Duration;

use aiocontextvars::channel::{self, Sender};
use aiocontextvars::{Carried, Context, ContextExt, shim};
use futures::channel::{mpsc, oneshot};
use opentelemetry::trace::{TraceContextExt, Tracer};

use crate::exported::{Exported, REQUEST};

pub(crate) type Actor = Sender<mpsc::UnboundedSender<Carried<oneshot::Sender<()>>>>;

pub(crate) const HOPS: [&str; 11] = [
    "aborted",
    "bound",
    "callback",
    "child",
    "grandchild",
    "job",
    "main",
    "message",
    "task",
    "thread",
    "timer",
];

/// An actor that outlives the requests.
pub(crate) fn actor(exported: &Exported) -> Actor {
    let (sender, mut receiver) = channel::carrying(mpsc::unbounded());
    let exported = exported.clone();
    let answer = move |reply: oneshot::Sender<()>| {
        let exported = exported.clone();
        async move {
            shim::yield_now().await;
            exported.note("message");
            reply.send(()).unwrap();
        }
    };
    shim::spawn_in(Context::new(), async move { receiver.run(answer).await }).detach();
    sender
}

/// Serves a request, whose span is the root of its trace.
pub(crate) async fn request(exported: Exported, actor: Actor, number: u64) {
    let serve = async {
        REQUEST.set(number);
        let root = exported.tracer.start("request");
        let work = {
            let _guard = opentelemetry::Context::current_with_span(root).attach();
            // In its span from here on.
            work(exported, actor).in_current_context()
        };
        work.await;
    };
    serve.in_current_context().await;
}

async fn work(exported: Exported, actor: Actor) {
    exported.note("main");
    let hop = |name| {
        let exported = exported.clone();
        move || exported.note(name)
    };
    let (task, in_child) = (hop("task"), exported.clone());
    let task = shim::spawn(async move {
        shim::yield_now().await;
        task();
        // A span of its own, whose work is in it.
        let child = in_child.tracer.start("child");
        let grandchild = {
            let _guard = opentelemetry::Context::current_with_span(child).attach();
            shim::spawn(async move {
                shim::yield_now().await;
                in_child.note("grandchild");
            })
        };
        grandchild.await.unwrap();
    });
    let (fired, fires) = oneshot::channel();
    let (callback, timer) = (hop("callback"), hop("timer"));
    shim::call_soon(move || {
        callback();
        shim::call_later(Duration::from_micros(1), move || {
            timer();
            fired.send(()).unwrap();
        });
    });
    task.await.unwrap();
    fires.await.unwrap();
    shim::spawn_blocking(hop("job")).await.unwrap();
    shim::thread::spawn(hop("thread")).join().unwrap();
    std::thread::spawn(shim::bind(hop("bound"))).join().unwrap();
    let (reply, answered) = oneshot::channel();
    actor.unbounded_send(reply).unwrap();
    answered.await.unwrap();

    struct Notes<F: Fn()>(F);
    impl<F: Fn()> Drop for Notes<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let (notes, started) = (Notes(hop("aborted")), oneshot::channel());
    let aborted = shim::spawn(async move {
        let _notes = notes;
        started.0.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    started.1.await.unwrap();
    aborted.abort();
    assert!(aborted.await.unwrap_err().is_cancelled());
}
