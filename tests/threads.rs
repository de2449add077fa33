//! Threads that have to wait for their context, and what they do for each other.

use std::rc::Rc;
use std::thread;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::{SharedContext, context_var, shim};

context_var! {
    static ID: u64;
}

/// Returns when the thread of this process that has this name sleeps, where the system tells.
fn wait_until_asleep(name: &str) {
    use std::fs;
    loop {
        let Ok(tasks) = fs::read_dir("/proc/self/task") else {
            return;
        };
        for task in tasks.flatten() {
            // It may have ended meanwhile.
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let is_it = |(before, _): &(&str, &str)| before.ends_with(&format!("({name}"));
            let state = stat.rsplit_once(") ").filter(is_it);
            if state.is_some_and(|(_, after)| after.starts_with('S')) {
                return;
            }
        }
        thread::yield_now();
    }
}

#[test]
fn a_thread_waits_for_a_shared_context_that_is_entered() {
    let shared = SharedContext::new();
    let inside = || {
        ID.set(1);
        let builder = shim::thread::Builder::new().name("waits-inside".to_owned());
        let thread = builder.spawn_in(&shared, || {
            let seen = ID.get();
            ID.set(3);
            (seen, thread::current().name().map(str::to_owned))
        });
        wait_until_asleep("waits-inside");
        ID.set(2);
        thread.unwrap()
    };
    let waits = shared.run(inside).unwrap();
    let (seen, name) = waits.join().unwrap();
    assert_eq!((seen, name.as_deref()), (Some(2), Some("waits-inside")));
    assert_eq!((shared.get(&ID), ID.get()), (Some(3), None));
}

#[test]
fn a_loop_of_another_thread_leaves_what_was_cancelled_to_its_own() {
    // In this process no other thread has callbacks of its own.
    let event_loop = EventLoop::new();
    let held = Rc::new(());
    let inside = Rc::clone(&held);
    let timer = event_loop.call_later(Duration::from_secs(3600), move || drop(inside));
    let cancels = || {
        timer.cancel();
        EventLoop::new().run_until_complete(shim::yield_now());
    };
    thread::scope(|scope| scope.spawn(cancels).join().unwrap());
    assert_eq!(Rc::strong_count(&held), 2);
    event_loop.run_until_complete(shim::yield_now());
    assert_eq!(Rc::strong_count(&held), 1);
}
