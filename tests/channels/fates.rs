//! Where messages and the values of their contexts are dropped, and when.

use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::task::Poll;

use aiocontextvars::{channel, shim};
use futures::future;

use crate::kinds::{Kind, Message, Sent, Unsent};
use crate::witness::{Fate, ID, poll};

/// Sends a message from a context of its own, with `id` for both.
#[track_caller]
pub(crate) fn send<K: Kind>(fate: &Fate, sender: &mut channel::Sender<K::Sender>, id: u64) {
    let message = (id, fate.messages.value());
    let sent = fate.sent_from(id, || K::try_send(sender, message));
    assert!(sent.is_ok());
}

pub(crate) fn a_receiver_keeps_no_context_between_messages<K: Kind>() {
    let fate = Fate::new();
    let (mut sender, mut receiver) = K::open(2);
    ID.set(9);
    let mut run = pin!(receiver.run(async |message| {
        shim::yield_now().await;
        drop(message);
    }));
    assert!(poll(run.as_mut()).is_pending());
    for id in 1..=3 {
        send::<K>(&fate, &mut sender, id);
        fate.is_there();
        // One poll up to the yield, and one to the next `recv`.
        assert!(poll(run.as_mut()).is_pending());
        fate.is_there();
        assert!(poll(run.as_mut()).is_pending());
        fate.is_gone(id);
    }
    drop(sender);
    assert!(poll(run.as_mut()).is_ready());
    fate.is_there();
}

pub(crate) fn unread_messages_are_dropped_in_their_contexts<K: Kind>() {
    let fate = Fate::new();
    let (mut sender, receiver) = K::open(2);
    ID.set(9);
    send::<K>(&fate, &mut sender, 1);
    send::<K>(&fate, &mut sender, 2);
    fate.is_there();
    drop(receiver);
    drop(sender);
    fate.is(&[Some(1), Some(2)], &[None, None]);
}

pub(crate) fn a_message_that_cannot_be_sent_comes_back_without_its_context<K: Kind>() {
    let fate = Fate::new();
    let (mut sender, receiver) = K::open(1);
    ID.set(9);
    let message = |number| (number, fate.messages.value());
    if K::BOUNDED {
        send::<K>(&fate, &mut sender, 1);
        let error = fate.sent_from(2, || K::try_send(&mut sender, message(2)));
        let Unsent { message, full } = error.unwrap_err();
        assert_eq!((message.0, full), (2, true));
        // The sender was the last that had it.
        fate.is(&[], &[Some(9)]);
        drop(message);
        fate.is(&[Some(9)], &[]);
    }
    drop(receiver);
    if K::BOUNDED {
        // async-channel keeps it until the senders are gone.
        assert!(fate.messages.take().len() <= 1 && fate.values.take().len() <= 1);
    }
    type Send<K> = fn(&mut channel::Sender<<K as Kind>::Sender>, Message) -> Sent;
    let ways: [Send<K>; 3] = [K::try_send, K::send_blocking, |sender, message| {
        futures::executor::block_on(K::send(sender, message))
    }];
    for way in ways {
        let error = fate.sent_from(3, || way(&mut sender, message(3)));
        let Unsent { message, full } = error.unwrap_err();
        assert_eq!((message.0, full), (3, false));
        fate.is(&[], &[Some(9)]);
        drop(message);
        fate.is(&[Some(9)], &[]);
    }
}

pub(crate) fn an_unsent_message_is_dropped_in_its_context<K: Kind>() {
    let fate = Fate::new();
    let (mut sender, mut receiver) = K::open(1);
    ID.set(9);
    if K::SENDS_LATER {
        let message = (1, fate.messages.value());
        let unpolled = fate.sent_from(1, || K::send(&mut sender, message));
        fate.is_there();
        drop(unpolled);
        fate.is_gone(1);
        assert!(poll(pin!(receiver.recv())).is_pending());
    }
    if K::BOUNDED {
        send::<K>(&fate, &mut sender, 2);
        let message = (3, fate.messages.value());
        let mut waiting = fate.sent_from(3, || K::send(&mut sender, message));
        assert!(poll(waiting.as_mut()).is_pending());
        assert!(poll(waiting.as_mut()).is_pending());
        fate.is_there();
        drop(waiting);
        fate.is_gone(3);
        // The other one is there, and then there is room.
        assert!(poll(pin!(receiver.recv())).is_ready());
        fate.is_gone(2);
    }
    send::<K>(&fate, &mut sender, 4);
    assert!(poll(pin!(receiver.recv())).is_ready());
    fate.is_gone(4);
}

pub(crate) fn a_dropped_recv_loses_nothing<K: Kind>() {
    let fate = Fate::new();
    let (mut sender, mut receiver) = K::open(1);
    ID.set(9);
    {
        let mut recv = pin!(receiver.recv());
        assert!(poll(recv.as_mut()).is_pending());
        send::<K>(&fate, &mut sender, 1);
        fate.is_there();
        // It has been woken, and is not polled any more.
    }
    fate.is_there();
    let Poll::Ready(Some(message)) = poll(pin!(receiver.recv())) else {
        panic!("there is a message");
    };
    assert_eq!(message.run(|(number, _)| (number, ID.get())), (1, Some(1)));
    fate.is_gone(1);
}

pub(crate) fn a_dropped_run_drops_the_message_at_hand_in_its_context<K: Kind>() {
    let fate = Fate::new();
    let (mut sender, mut receiver) = K::open(2);
    ID.set(9);
    send::<K>(&fate, &mut sender, 1);
    send::<K>(&fate, &mut sender, 2);
    {
        let mut run = pin!(receiver.run(async |_message| future::pending().await));
        assert!(poll(run.as_mut()).is_pending());
        fate.is_there();
    }
    fate.is_gone(1);
    let mut run =
        pin!(receiver.run(async |message| assert_eq!((message.0, ID.get()), (2, Some(2)))));
    assert!(poll(run.as_mut()).is_pending());
    fate.is_gone(2);
}

pub(crate) fn a_panic_ends_run_and_leaves_the_others_where_they_are<K: Kind>() {
    let fate = Fate::new();
    let (mut sender, mut receiver) = K::open(3);
    ID.set(9);
    for id in 1..=3 {
        send::<K>(&fate, &mut sender, id);
    }
    for id in 1..=2 {
        let mut run = pin!(receiver.run(async |(number, _seen)| {
            ID.set(number + 100);
            // In silence: the panic hook is not called.
            panic::resume_unwind(Box::new(number));
        }));
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| poll(run.as_mut())));
        assert_eq!(*outcome.unwrap_err().downcast::<u64>().unwrap(), id);
        fate.is(&[Some(id + 100)], &[None]);
    }
    drop(sender);
    let mut run = pin!(receiver.run(async |_| assert_eq!(ID.get(), Some(3))));
    assert!(poll(run.as_mut()).is_ready());
    fate.is_gone(3);
}
