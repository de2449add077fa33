//! Which context is current where.

use std::sync::Once;

use aiocontextvars::{Context, companion, copy_context, inherit_context, shim};
use aiocontextvars_opentelemetry::CurrentContext;
use opentelemetry::Context as OtelContext;

fn set_up() {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| companion::register(CurrentContext).unwrap());
}

/// A value that somebody has put into the context, and whose owners are counted.
#[derive(Clone)]
struct Number(std::sync::Arc<u64>);

fn number() -> Option<u64> {
    OtelContext::map_current(|context| context.get::<Number>().map(|number| *number.0))
}

fn within<R>(number: &Number, f: impl FnOnce() -> R) -> R {
    let _guard = OtelContext::current_with_value(number.clone()).attach();
    f()
}

#[test]
fn work_that_was_captured_outside_is_in_none() {
    set_up();
    let one = Number(1.into());
    let early = shim::bind(number);
    let seen = within(&one, || {
        let own = Context::new();
        let task = shim::block_on(async { shim::spawn_in(own, async { number() }).await.unwrap() });
        (early(), task, number())
    });
    assert_eq!((seen, number()), ((None, None, Some(1)), None));
}

#[test]
fn values_of_all_types_follow_and_nothing_is_kept() {
    set_up();
    let one = Number(1.into());
    let kept = within(&one, || {
        let inherited = inherit_context();
        let bound = shim::bind(number);
        let thread = std::thread::spawn(move || (bound(), number()));
        assert_eq!(thread.join().unwrap(), (Some(1), None));
        let task = shim::block_on(async {
            let task = shim::spawn(async { number() });
            while !task.is_finished() {
                shim::yield_now().await;
            }
            (task,)
        });
        (task, copy_context(), inherited.without_companions())
    });
    assert_eq!(std::sync::Arc::strong_count(&one.0), 1);
    drop(kept);
}

#[test]
fn a_panic_restores() {
    set_up();
    let (one, two) = (Number(1.into()), Number(2.into()));
    within(&one, || {
        let bound = within(&two, || {
            shim::bind(|| {
                assert_eq!(number(), Some(2));
                std::panic::resume_unwind(Box::new("on purpose"))
            })
        });
        let panicked: Result<(), _> = std::panic::catch_unwind(std::panic::AssertUnwindSafe(bound));
        assert!(panicked.is_err());
        assert_eq!(number(), Some(1));
    });
}
