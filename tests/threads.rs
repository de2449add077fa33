//! Threads that have to wait for their context.

use std::thread;

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
