//! What a handler of messages sees.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use aiocontextvars::{channel, context_var, copy_context, shim};
use futures::channel::{mpsc, oneshot};

use crate::kinds::Kind;
use crate::runtimes::on_each_runtime;
use crate::witness::{Fate, ID, poll};

context_var! {
    #[local]
    static HERE: u64;
}

pub(crate) fn ta_14_messages_of_tasks_and_threads_are_handled_in_their_senders_contexts<K: Kind>() {
    on_each_runtime(async || {
        let fate = Arc::new(Fate::new());
        let handled = Handled::default();
        send_and_handle::<K>(&fate, &handled).await;

        // Called, polled, a child of the handler, and what the handler made of it.
        let expected: Vec<_> = (1..=6)
            .map(|id| (id, [Some(id), Some(id), Some(id), Some(id + 100)]))
            .collect();
        let mut handled = handled.lock().unwrap();
        handled.sort_unstable();
        assert_eq!(*handled, expected);
        let mut messages = fate.messages.take();
        messages.sort_unstable();
        assert_eq!(messages, (101..=106).map(Some).collect::<Vec<_>>());
        assert_eq!(fate.values.take(), [None; 6]);
    });
}

type Handled = Arc<Mutex<Vec<(u64, [Option<u64>; 4])>>>;

async fn send_and_handle<K: Kind>(fate: &Fate, handled: &Handled) {
    let (sender, receiver) = K::open(1);
    ID.set(9);
    let handled = Arc::clone(handled);
    let actor = shim::spawn(async {
        let receiver = K::run(receiver, move |message| {
            let called = ID.get();
            let handled = Arc::clone(&handled);
            Box::pin(async move {
                let first = ID.get();
                shim::yield_now().await;
                let child = shim::spawn(async { ID.get() }).await.unwrap();
                ID.set(message.0 + 100);
                shim::yield_now().await;
                let row = (message.0, [called, first, child, ID.get()]);
                handled.lock().unwrap().push(row);
                drop(message);
            })
        })
        .await;
        assert_eq!((ID.get(), copy_context().len()), (Some(9), 1));
        drop(receiver);
    });
    let tasks: Vec<_> = (1..=3)
        .map(|id| {
            let (mut sender, message) = (sender.clone(), (id, fate.messages.value()));
            shim::spawn_in(fate.context(id), async move {
                assert!(K::send(&mut sender, message).await.is_ok());
                assert_eq!(ID.get(), Some(id));
            })
        })
        .collect();
    let threads: Vec<_> = (4..=6)
        .map(|id| {
            let (mut sender, message) = (sender.clone(), (id, fate.messages.value()));
            shim::spawn_blocking_in(fate.context(id), move || {
                assert!(K::send_blocking(&mut sender, message).is_ok());
                assert_eq!(ID.get(), Some(id));
            })
        })
        .collect();
    drop(sender);
    for sending in tasks.into_iter().chain(threads) {
        sending.await.unwrap();
    }
    actor.await.unwrap();
    assert_eq!((ID.get(), copy_context().len()), (Some(9), 1));
}

pub(crate) fn the_context_is_that_of_the_call<K: Kind>() {
    let fate = Fate::new();
    let (mut sender, mut receiver) = K::open(2);
    ID.set(1);
    let send = K::send(&mut sender, (1, fate.messages.value()));
    ID.set(2);
    assert!(matches!(poll(pin!(send)), Poll::Ready(Ok(()))));
    let message = (2, fate.messages.value());
    assert!(K::try_send(&mut sender, message).is_ok());
    ID.set(9);
    for id in 1..=2 {
        let Poll::Ready(Some(message)) = poll(pin!(receiver.recv())) else {
            panic!("there is a message");
        };
        assert_eq!(message.context().get(&ID), Some(&id));
        assert_eq!(
            message.run(|(number, _)| (number, ID.get())),
            (id, Some(id))
        );
        fate.is(&[Some(id)], &[]);
    }
    drop(sender);
    assert!(matches!(poll(pin!(receiver.recv())), Poll::Ready(None)));
}

pub(crate) fn local_variables_stay_behind<K: Kind>() {
    let fate = Fate::new();
    let (mut sender, mut receiver) = K::open(1);
    let mut context = fate.context(1).with_value(&HERE, 1);
    context.run(|| {
        let message = (1, fate.messages.value());
        assert!(K::try_send(&mut sender, message).is_ok());
    });
    let Poll::Ready(Some(message)) = poll(pin!(receiver.recv())) else {
        panic!("there is a message");
    };
    assert_eq!(message.run(|_| (ID.get(), HERE.get())), (Some(1), None));
}

#[test]
fn replies_come_back_without_a_context() {
    type Request = (u64, oneshot::Sender<Option<u64>>);

    on_each_runtime(async || {
        let (sender, mut receiver) = channel::carrying(mpsc::channel::<_>(1));
        let actor = shim::spawn(async move {
            receiver
                .run(async |(add, reply): Request| {
                    ID.set(ID.get_or(0) + add);
                    reply.send(ID.get()).unwrap();
                })
                .await;
        });
        let clients = [10, 20].map(|id| {
            let mut sender = sender.clone();
            shim::spawn(async move {
                ID.set(id);
                let (reply, answer) = oneshot::channel();
                sender.send((1, reply)).await.unwrap();
                assert_eq!((answer.await, ID.get()), (Ok(Some(id + 1)), Some(id)));
            })
        });
        drop(sender);
        for task in clients.into_iter().chain([actor]) {
            task.await.unwrap();
        }
    });
}
