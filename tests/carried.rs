//! A value that has its context with it: what sees which context, and when the context is let go
//! of.

#[path = "common/witness.rs"]
mod witness;

use std::future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;

use aiocontextvars::{
    Carried, Context, ContextExt, SharedContext, context_var, copy_context, shim,
};
use futures::channel::oneshot;

use witness::{Fate, ID, Seen, VALUE, Witness, poll};

context_var! {
    #[local]
    static HERE: u64;
}

/// A message sent from a context with the id 1, to a receiver with the id 9.
fn fixture() -> (Carried<Seen>, Fate) {
    let fate = Fate::new();
    let message = fate.sent_from(1, || Carried::new(fate.messages.value()));
    ID.set(9);
    (message, fate)
}

#[test]
fn run_is_in_the_context_of_the_message() {
    let (message, fate) = fixture();
    assert_eq!(
        message.context().get(&ID),
        Some(&1),
        "the copy was taken at the call"
    );
    let seen = message.run(|message| {
        let seen = ID.get();
        ID.set(2);
        drop(message);
        assert_eq!(fate.messages.take(), [Some(2)]);
        assert!(fate.values.take().is_empty());
        (seen, VALUE.with(|value| value.is_some()))
    });
    assert_eq!(seen, (Some(1), true));
    fate.is(&[], &[None]);
}

#[test]
fn what_run_does_not_use_is_dropped_inside() {
    let (message, fate) = fixture();
    let captured = Witness::default();
    let capture = captured.value();
    message.run(move |_message| {
        let _capture = &capture;
    });
    assert_eq!(captured.take(), [Some(1)]);
    fate.is_gone(1);
}

#[test]
fn what_run_returns_belongs_to_the_caller() {
    let (message, fate) = fixture();
    let message = message.run(|message| message);
    fate.is(&[], &[None]);
    drop(message);
    fate.is(&[Some(9)], &[]);
}

#[test]
fn a_message_that_nobody_reads_is_dropped_in_its_context() {
    let (message, fate) = fixture();
    let queue = vec![message];
    fate.is_there();
    drop(queue);
    fate.is_gone(1);
}

#[test]
fn a_panic_leaves_the_receivers_context_as_it_was() {
    type Handle = fn(Carried<Seen>);
    let handles: [Handle; 4] = [
        |message| message.run(|_| panic!("handled")),
        |message| drop(message.map(|_| panic!("handled"))),
        |message| drop(message.scope(|_| -> future::Ready<()> { panic!("handled") })),
        |message| {
            let scope = message.scope(async |_message| panic!("handled"));
            let _ = poll(pin!(scope));
        },
    ];
    for handle in handles {
        let (message, fate) = fixture();
        panic::catch_unwind(AssertUnwindSafe(|| handle(message))).unwrap_err();
        fate.is_gone(1);
    }
}

#[test]
fn scope_calls_polls_and_drops_in_the_context_of_the_message() {
    let (message, fate) = fixture();
    let (send, receive) = oneshot::channel::<()>();
    let mut called = None;
    {
        let mut scope = pin!(message.scope(|message| {
            called = ID.get();
            ID.set(2);
            async move {
                let first = ID.get();
                ID.set(3);
                receive.await.unwrap();
                let second = ID.get();
                ID.set(1);
                drop(message);
                (first, second)
            }
        }));
        fate.is_there();
        assert!(poll(scope.as_mut()).is_pending());
        fate.is_there();
        send.send(()).unwrap();
        assert_eq!(poll(scope.as_mut()), Poll::Ready((Some(2), Some(3))));
    }
    assert_eq!(called, Some(1));
    fate.is_gone(1);
}

#[test]
fn scope_that_is_dropped_midway_drops_the_message_in_its_context() {
    for polls in 0..3 {
        let (message, fate) = fixture();
        {
            let mut scope = pin!(message.scope(async |_message| future::pending::<()>().await));
            for _ in 0..polls {
                assert!(poll(scope.as_mut()).is_pending());
            }
            fate.is_there();
        }
        fate.is_gone(1);
    }
}

#[test]
fn map_keeps_the_context_and_what_was_set_there() {
    let (message, fate) = fixture();
    let mapped = message.map(|message| {
        let seen = ID.get();
        ID.set(2);
        (message, seen)
    });
    fate.is_there();
    let (seen, in_run) = mapped.run(|(_message, seen)| {
        let id = ID.get();
        ID.set(1);
        (seen, id)
    });
    assert_eq!((seen, in_run), (Some(1), Some(2)));
    fate.is_gone(1);
}

#[test]
fn the_parts_are_the_callers() {
    let (message, fate) = fixture();
    let (message, mut context) = message.into_parts();
    assert_eq!(context.run(|| ID.get()), Some(1));
    drop(message);
    fate.is(&[Some(9)], &[]);
    // An owned context that is dropped here is nobody's business but the caller's.
    drop(context);
    fate.is(&[], &[Some(9)]);

    let (message, fate) = fixture();
    let message = message.into_inner();
    fate.is(&[], &[None]);
    drop(message);
    fate.is(&[Some(9)], &[]);
}

#[test]
fn sender_and_message_are_independent() {
    let token = ID.set(1);
    let message = Carried::new(());
    ID.reset(token).unwrap();
    assert_eq!(ID.get(), None);
    let token = message.run(|()| {
        assert_eq!(ID.get(), Some(1));
        ID.set(2)
    });
    assert_eq!(ID.get(), None);
    assert!(ID.reset(token).is_err(), "a token of the message's context");
}

#[test]
fn a_given_context_is_taken_as_it_is_and_local_variables_stay_behind() {
    ID.set(1);
    HERE.set(1);
    let read = |()| (ID.get(), HERE.get());
    assert_eq!(Carried::new(()).run(read), (Some(1), None));
    let context = copy_context();
    assert_eq!(Carried::new_in(context, ()).run(read), (Some(1), Some(1)));
    assert_eq!(
        Carried::new_in(Context::new(), ()).run(read),
        (None, None),
        "nothing of the sender's"
    );
    // A handler sees what it sets, and nobody else does.
    let message = Carried::new(()).map(|()| {
        HERE.set(2);
        Carried::new(())
    });
    assert_eq!(message.context().get(&HERE), Some(&2));
    assert_eq!(message.into_inner().run(read), (Some(1), None));
}

#[test]
fn a_carried_message_may_be_made_in_another_ones_context_and_in_a_shared_one() {
    ID.set(1);
    let outer = Carried::new(());
    let inner = outer.run(|()| {
        ID.set(2);
        Carried::new(())
    });
    assert_eq!(inner.run(|()| ID.get()), Some(2));

    let shared = SharedContext::new();
    let message = shared.run(|| {
        ID.set(3);
        Carried::new(())
    });
    let message = message.unwrap();
    shared.run(|| drop(ID.set(4))).unwrap();
    assert_eq!(message.run(|()| ID.get()), Some(3));
    assert_eq!(ID.get(), Some(1));

    // The way to have the handler's changes seen.
    let message = Carried::new(shared.clone());
    let handled = message.scope(|shared| async { drop(ID.set(5)) }.in_context(shared));
    shim::block_on(handled);
    assert_eq!((shared.get(&ID), ID.get()), (Some(5), Some(1)));
}

#[test]
fn clones_have_contexts_of_their_own() {
    let (message, fate) = fixture();
    let message = message.map(Arc::new);
    let clone = message.clone();
    message.run(|_message| drop(ID.set(2)));
    fate.is_there();
    drop(clone);
    fate.is_gone(1);
}

#[test]
fn the_value_is_reached_where_it_is() {
    let mut message = Carried::new(vec![1]);
    message.get_mut().push(2);
    assert_eq!(message.get_ref(), &[1, 2]);
    assert_eq!(message.into_inner(), [1, 2]);
}

#[test]
fn messages_go_to_other_threads() {
    let (message, fate) = fixture();
    let handled = thread::spawn(move || {
        ID.set(8);
        let seen = message.run(|_message| ID.get());
        (seen, ID.get(), copy_context().len())
    });
    assert_eq!(handled.join().unwrap(), (Some(1), Some(8), 1));
    fate.is_gone(1);
}

#[test]
fn a_message_is_two_words_larger_than_its_value() {
    assert_eq!(size_of::<Carried<[usize; 3]>>(), size_of::<[usize; 5]>());
}

#[test]
fn debug_shows_the_value_and_redacts_the_context() {
    let message = Carried::new_in(Context::new().with_value(&ID, 7), "hello");
    assert_eq!(
        format!("{message:?}"),
        r#"Carried { value: "hello", context: Context {ID: <redacted>} }"#
    );
}
