//! A guard that is dropped out of its context's reach, while the context is read and written.

use aiocontextvars::{Scoped, SharedContext, context_var};
use aiocontextvars_models::check;
use loom::thread;

context_var! {
    static LEVEL: u8;
}

/// A context in which a variable is 1, and 2 under the guard.
fn guarded() -> (SharedContext, Scoped<'static, u8>) {
    let shared = SharedContext::new();
    let set = || {
        LEVEL.set(1);
        LEVEL.scoped(2)
    };
    let guard = shared.run(set).unwrap();
    (shared, guard)
}

/// Its layer ends all the same.
///
/// Fails if a guard that is dropped elsewhere does not end its layer.
#[test]
fn a_layer_ends_from_another_thread() {
    check(|| {
        let (shared, guard) = guarded();
        let other = thread::spawn(move || drop(guard));
        let seen = shared.run(|| (LEVEL.get(), LEVEL.get())).unwrap();
        assert_ne!(seen, (Some(1), Some(2)), "it does not come back");
        other.join().unwrap();
        assert_eq!(shared.run(|| LEVEL.get()).unwrap(), Some(1));
    });
}

/// Its layer ends all the same: afterwards no value of the guard is visible, whatever was read or
/// written meanwhile.
#[test]
fn a_guard_ends_from_another_thread() {
    check(|| {
        let (shared, guard) = guarded();
        let other = thread::spawn(move || drop(guard));
        shared
            .run(|| {
                let seen = LEVEL.get();
                assert!(seen == Some(2) || seen == Some(1));
                if seen == Some(1) {
                    assert_eq!(LEVEL.get(), Some(1), "it does not come back");
                }
                LEVEL.set(3);
            })
            .unwrap();
        other.join().unwrap();
        let seen = shared.run(|| LEVEL.get()).unwrap();
        // A write above the guard's layer goes with it; one that came after its end stays.
        assert!(seen == Some(1) || seen == Some(3));
    });
}
