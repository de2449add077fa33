//! Context variables while a thread's locals are destroyed, and what becomes of a thread's own context.

use std::cell::RefCell;
use std::sync::mpsc::{self, Sender};
use std::thread;

use aiocontextvars::{
    Context, ContextExt, ContextVar, SetErrorKind, SharedContext, context_var, copy_context, shim,
};

context_var! {
    static ID: u64;
    static TENANT: String = "public".to_owned();
    static HELD: Held;
}

/// A value that uses the crate when it is dropped.
struct Held(Sender<(Option<u64>, Option<String>)>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send((ID.get(), TENANT.get())).unwrap();
        // A write may have nowhere to go by then; it must not panic either.
        drop(ID.scoped(10));
    }
}

/// Calls a function when the thread's locals are destroyed.
struct AtExit(Option<Box<dyn FnOnce()>>);

impl Drop for AtExit {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

thread_local! {
    static AT_EXIT: RefCell<AtExit> = const { RefCell::new(AtExit(None)) };
}

/// Runs `at_exit` when a new thread's locals are destroyed, before or after its own context is freed.
fn in_a_destructor(context_goes_last: bool, at_exit: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(move || {
        let first_use = || ID.set(1);
        // Locals are destroyed in the reverse order of their first uses; both have to work.
        if context_goes_last {
            first_use();
            AT_EXIT.with_borrow_mut(|slot| slot.0 = Some(Box::new(at_exit)));
        } else {
            AT_EXIT.with_borrow_mut(|slot| slot.0 = Some(Box::new(at_exit)));
            first_use();
        }
    });
    thread.join().unwrap();
}

#[test]
fn r_06_reading_works() {
    for order in [false, true] {
        let (sender, receiver) = mpsc::channel();
        in_a_destructor(order, move || {
            let fresh: ContextVar<u8> = ContextVar::with_default("fresh", || 3);
            sender.send((ID.get(), TENANT.get(), fresh.get())).unwrap();
            assert_eq!(ID.get_or(5), ID.get().unwrap_or(5));
            assert_eq!(copy_context().len(), usize::from(ID.get().is_some()));
        });
        let (id, tenant, fresh) = receiver.recv().unwrap();
        assert!(id.is_none() || id == Some(1));
        assert_eq!((tenant.as_deref(), fresh), (Some("public"), Some(3)));
    }
}

#[test]
fn r_06_entering_and_leaving_works() {
    for order in [false, true] {
        let (sender, receiver) = mpsc::channel();
        in_a_destructor(order, move || {
            let mut context = Context::new().with_value(&ID, 2);
            let seen = context.run(|| {
                // Inside a context of its own, writing works as ever.
                let token = ID.set(3);
                let seen = ID.get();
                ID.reset(token).unwrap();
                let _guard = ID.scoped(4);
                (seen, ID.get())
            });
            let shared = SharedContext::new();
            shared.run(|| ID.set(5)).unwrap();
            drop(async {}.in_context(context));
            let blocked = shim::thread::spawn(|| ID.get()).join().unwrap();
            sender
                .send((seen, shared.get(&ID), blocked == ID.get()))
                .unwrap();
        });
        assert_eq!(receiver.recv(), Ok(((Some(3), Some(4)), Some(5), true)));
    }
}

#[test]
fn r_06_writing_fails_softly() {
    for context_goes_last in [false, true] {
        let (sender, receiver) = mpsc::channel();
        in_a_destructor(context_goes_last, move || {
            let outcome = ID.try_set(7).map(drop).map_err(|error| {
                assert!(error.to_string().contains("`ID`"), "{error}");
                (error.kind(), error.into_value())
            });
            // The form without an error drops the value, and its token restores nothing.
            let token = ID.set(8);
            let kept = ID.get() == Some(8);
            assert_eq!(ID.reset(token).is_ok(), kept);
            drop(ID.scoped(9));
            drop(ID.unset());
            sender.send((outcome, kept)).unwrap();
        });
        let expected = if context_goes_last {
            (Ok(()), true)
        } else {
            (Err((SetErrorKind::ThreadExit, 7)), false)
        };
        assert_eq!(receiver.recv(), Ok(expected));
    }
}

#[test]
fn th_07_a_finished_threads_values_are_dropped_once() {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        ID.set(1);
        HELD.set(Held(sender.clone()));
        // A copy that outlives the thread keeps what it has, and no more.
        HELD.set(Held(sender));
        assert_eq!(ID.get(), Some(1));
    })
    .join()
    .unwrap();
    let seen: Vec<_> = receiver.iter().collect();
    let tenant = Some("public".to_owned());
    // The first was replaced while the thread ran; the second went with it.
    assert_eq!(seen, [(Some(1), tenant.clone()), (None, tenant)]);
}

#[test]
fn th_07_a_copy_outlives_its_thread() {
    let (sender, receiver) = mpsc::channel();
    let copy = thread::spawn(move || {
        ID.set(1);
        HELD.set(Held(sender));
        copy_context()
    })
    .join()
    .unwrap();
    assert_eq!(copy.get(&ID), Some(&1));
    assert!(receiver.try_recv().is_err());
    drop(copy);
    assert_eq!(receiver.iter().count(), 1);
}

#[test]
fn r_06_the_event_loop_runs_in_a_destructor() {
    let (sender, receiver) = mpsc::channel();
    in_a_destructor(false, move || {
        let seen = shim::block_on(async {
            ID.set(2);
            shim::spawn(async { ID.get() }).await.unwrap()
        });
        sender.send(seen).unwrap();
    });
    assert_eq!(receiver.recv(), Ok(Some(2)));
}
