//! rayon's global pool, whose threads start at its first use in a process.

#[path = "../crates/conformance/src/drops.rs"]
mod drops;

use std::env;
use std::process::Command;
use std::sync::mpsc;

use aiocontextvars::{Context, ContextExt, SetErrorKind, context_var, shim};
use rayon::prelude::*;

use crate::drops::{Counted, Drops};

context_var! {
    static ID: u64;
    static HELD: Counted;
}

/// The only test of its process that uses the pool.
#[test]
fn th_05_the_global_pool_pins_nothing_of_who_started_it() {
    let drops = Drops::new();
    let mut context = Context::new()
        .with_value(&ID, 1)
        .with_value(&HELD, drops.value());
    let (sender, receiver) = mpsc::channel();
    context.run(|| {
        shim::rayon::spawn(move || sender.send(ID.get()).unwrap());
        assert_eq!(
            shim::rayon::join(|| ID.get(), || ID.get()),
            (Some(1), Some(1))
        );
        shim::rayon::scope(|scope| scope.spawn(|_| assert_eq!(ID.get(), Some(1))));
        let everywhere = shim::rayon::broadcast(|_| {
            let seen = ID.get();
            ID.set(2);
            seen
        });
        assert!(everywhere.into_iter().all(|seen| seen == Some(1)));
        let items = (0..1000_u64).into_par_iter().in_current_context();
        assert!(items.all(|_| ID.get() == Some(1)));
        // Too few to be divided.
        for few in [0, 1] {
            let items = (0..few).into_par_iter().in_current_context();
            assert_eq!(items.filter(|_| ID.get() == Some(1)).count(), few);
        }
        assert_eq!(ID.get(), Some(1));
    });
    assert_eq!((receiver.recv(), drops.count()), (Ok(Some(1)), 0));
    // And on each worker, the job before this one has ended.
    let found = rayon::broadcast(|_| {
        let refused = ID.try_set(3).map_err(|error| error.kind()).err();
        (ID.get(), HELD.with(|held| held.is_some()), refused)
    });
    let nothing = (None, false, Some(SetErrorKind::ForeignJob));
    assert!(found.into_iter().all(|found| found == nothing));
    drop(context);
    assert_eq!(drops.count(), 1);
}

#[test]
fn th_05_bare_jobs_in_a_wait_on_behalf_of_a_thread_cannot_write() {
    let mut other = Command::new(env::current_exe().unwrap());
    other.args(["with_a_pool_of_one_thread", "--exact", "--ignored"]);
    let output = other.env("RAYON_NUM_THREADS", "1").output().unwrap();
    let output = String::from_utf8_lossy(&output.stdout);
    assert!(output.contains("1 passed"), "{output}");
}

/// There, what a job starts is what the thread has next.
#[test]
#[ignore = "run by the other, in a process of its own"]
fn with_a_pool_of_one_thread() {
    let bare = || {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..2 {
            let sender = sender.clone();
            rayon::spawn(move || {
                let refused = ID.try_set(2).map_err(|error| error.kind()).err();
                sender.send((ID.get(), refused)).unwrap();
            });
        }
        receiver
    };
    ID.set(1);
    let (joined, ()) = shim::rayon::join(bare, || ());
    let scoped = shim::rayon::scope(|scope| {
        scope.spawn(|_| ());
        bare()
    });
    let items = (0..2).into_par_iter().in_current_context();
    let mut iterated: Vec<_> = items.map(|item| (item == 0).then(bare)).collect();
    let iterated = iterated.swap_remove(0).unwrap();
    for seen in [joined, scoped, iterated] {
        let refused = (None, Some(SetErrorKind::ForeignJob));
        assert_eq!(seen.iter().collect::<Vec<_>>(), [refused; 2]);
    }
    assert_eq!(rayon::broadcast(|_| ID.get()), [None]);
    assert_eq!(ID.get(), Some(1));
}
