//! Jobs that panic.

use std::sync::Arc;

use aiocontextvars::{Context, shim};

use crate::drops::Drops;
use crate::jobs::WAYS;
use crate::{HELD, ID, Log, SeesOnDrop, assert_left_nothing, panic_of, pool};

#[test]
fn a_panic_leaves_nothing_and_is_passed_on() {
    for (way, start) in WAYS {
        let pool = pool(1);
        let (inherited, own) = (Drops::new(), Drops::new());
        let mut context = Context::new()
            .with_value(&ID, 1)
            .with_value(&HELD, inherited.value());
        let (seen, calls) = (Log::default(), Log::default());
        let job = {
            let (own, seen, calls) = (own.clone(), seen.clone(), calls.clone());
            move || {
                ID.set(2);
                HELD.set(own.value());
                calls.push(());
                let _probe = SeesOnDrop(seen.clone());
                panic!("of the job");
            }
        };
        context.run(|| {
            let start = || start(&pool, Arc::new(job));
            match way.contains("spawn") && !way.contains("Scope") {
                // The pool's handler has it.
                true => start(),
                false => assert_eq!(panic_of(start), "of the job", "{way}"),
            }
            assert_eq!(ID.get(), Some(1), "{way}");
        });
        let calls = calls.take().len();
        assert!(calls > 0, "{way}");
        assert_eq!(seen.take(), vec![Some(2); calls], "{way}");
        assert_eq!((own.count(), inherited.count()), (calls, 0), "{way}");
        drop(context);
        assert_eq!(inherited.count(), 1, "{way}");
        assert_left_nothing(&pool);
    }
}

#[test]
fn both_sides_of_a_join_end_before_a_panic_comes_out() {
    let pool = pool(1);
    let seen = Log::default();
    ID.set(1);
    let other = || seen.push(ID.get());
    let on = shim::rayon::on(&pool);
    let panics = || {
        ID.set(2);
        panic!("of one side");
    };
    assert_eq!(panic_of(|| on.join(panics, other)), "of one side");
    assert_eq!(panic_of(|| on.join(other, panics)), "of one side");
    assert_eq!((seen.take(), ID.get()), (vec![Some(1); 2], Some(1)));
    assert_left_nothing(&pool);
}
