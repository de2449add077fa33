//! The code of `docs/wrap-your-own-executor.md`, in the same order; `tests/guarantees.rs` compares
//! them.

use std::sync::mpsc;
use std::thread;

/// What a main loop runs.
type Posted = Box<dyn FnOnce() + Send>;

/// A main loop, as that of a graphical toolkit: one thread that runs closures.
pub(crate) struct MainLoop(mpsc::Receiver<Posted>);

/// With which any thread posts closures to the main loop.
#[derive(Clone)]
pub(crate) struct Proxy(mpsc::Sender<Posted>);

impl MainLoop {
    pub(crate) fn new() -> (MainLoop, Proxy) {
        let (sender, receiver) = mpsc::channel();
        (MainLoop(receiver), Proxy(sender))
    }

    /// Runs what is posted, until there is nobody left who could post more.
    pub(crate) fn run(self) {
        while let Ok(posted) = self.0.recv() {
            posted();
        }
    }
}

impl Proxy {
    pub(crate) fn post(&self, f: Posted) {
        // Where the loop has ended the closure is dropped.
        let _ = self.0.send(f);
    }
}

use aiocontextvars::shim::{Executor, Runnable};

impl Executor for Proxy {
    fn schedule(&self, task: Runnable) {
        self.post(Box::new(|| task.run()));
    }
}

use aiocontextvars::context_var;
use aiocontextvars::shim::{self, ContextAwareExecutor};

context_var! { static DOCUMENT: u64; }

#[test]
fn a_document_follows_the_work() {
    let (main_loop, proxy) = MainLoop::new();
    let main_thread = thread::spawn(|| main_loop.run());
    let gui = ContextAwareExecutor::new(proxy);

    DOCUMENT.set(1);
    let saved = gui.spawn(async {
        // In the main loop; the file is written elsewhere, and the callback is again in the main
        // loop.
        let written = shim::spawn_blocking(|| DOCUMENT.get()).await.unwrap();
        let (shown, wait) = futures::channel::oneshot::channel();
        shim::call_soon(move || shown.send(DOCUMENT.get()).unwrap());
        (written, wait.await.unwrap())
    });
    DOCUMENT.set(2);
    assert_eq!(gui.block_on(saved).unwrap(), (Some(1), Some(1)));

    drop(gui);
    main_thread.join().unwrap();
}

fn start() -> Proxy {
    let (main_loop, proxy) = MainLoop::new();
    thread::spawn(|| main_loop.run());
    proxy
}

#[test]
fn the_main_loop_conforms() {
    aiocontextvars_conformance::check(start);
}
