//! rayon's global pool, whose threads start at its first use in a process.

#[path = "../src/conformance/drops.rs"]
mod drops;

use std::sync::mpsc;

use aiocontextvars::{Context, ContextExt, context_var, shim};
use rayon::prelude::*;

use crate::drops::{Counted, Drops};

context_var! {
    static ID: u64;
    static HELD: Counted;
}

/// The only test of its process.
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
        assert_eq!(ID.get(), Some(1));
    });
    assert_eq!((receiver.recv(), drops.count()), (Ok(Some(1)), 0));
    // And on each worker, the job before this one has ended.
    let found = rayon::broadcast(|_| (ID.get(), HELD.with(|held| held.is_some())));
    assert!(found.into_iter().all(|found| found == (None, false)));
    drop(context);
    assert_eq!(drops.count(), 1);
}
