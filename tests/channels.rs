//! Channels whose messages bring their sender's context: the same on each kind of channel.

#[path = "channels/kinds.rs"]
mod kinds;
#[path = "common/witness.rs"]
mod witness;

use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use aiocontextvars::channel::{self, Receiver};
use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::{Context, context_var, copy_context, shim};
use futures::channel::{mpsc, oneshot};
use futures::future::{self, BoxFuture};
use futures::sink::SinkExt;
use futures::stream::{self, FusedStream, Stream, StreamExt};

use kinds::{Kind, Message, Sent, Unsent};
use witness::{Fate, ID, poll};

context_var! {
    #[local]
    static HERE: u64;
}

type BlockOn = fn(BoxFuture<'static, ()>);

/// What tasks, blocking jobs and `block_on` itself can be run on.
fn runtimes() -> Vec<BlockOn> {
    vec![
        |future| EventLoop::new().run_until_complete(future),
        #[cfg(feature = "tokio")]
        |future| on_tokio(tokio::runtime::Builder::new_multi_thread(), future),
        #[cfg(feature = "tokio")]
        |future| on_tokio(tokio::runtime::Builder::new_current_thread(), future),
        #[cfg(feature = "async-std")]
        |future| shim::async_std::block_on(future),
        #[cfg(feature = "smol")]
        |future| shim::smol::block_on(future),
    ]
}

#[cfg(feature = "tokio")]
fn on_tokio(mut builder: tokio::runtime::Builder, future: BoxFuture<'static, ()>) {
    use aiocontextvars::ContextExt;

    let runtime = builder.build().unwrap();
    runtime.block_on(future.in_current_context());
}

/// Makes tests of functions that are generic in the kind of channel.
macro_rules! on_every_kind {
    ($($test:ident)*) => {
        $(mod $test {
            #[test]
            fn futures_bounded() {
                super::$test::<super::kinds::FuturesBounded>();
            }

            #[test]
            fn futures_unbounded() {
                super::$test::<super::kinds::FuturesUnbounded>();
            }

            #[cfg(feature = "async-channel")]
            #[test]
            fn async_channel_bounded() {
                super::$test::<super::kinds::AsyncChannelBounded>();
            }

            #[cfg(feature = "async-channel")]
            #[test]
            fn async_channel_unbounded() {
                super::$test::<super::kinds::AsyncChannelUnbounded>();
            }

            #[cfg(feature = "tokio")]
            #[test]
            fn tokio_bounded() {
                super::$test::<super::kinds::TokioBounded>();
            }

            #[cfg(feature = "tokio")]
            #[test]
            fn tokio_unbounded() {
                super::$test::<super::kinds::TokioUnbounded>();
            }
        })*
    };
}

on_every_kind! {
    ta_14_messages_of_tasks_and_threads_are_handled_in_their_senders_contexts
    the_context_is_that_of_the_call
    local_variables_stay_behind
    a_receiver_keeps_no_context_between_messages
    unread_messages_are_dropped_in_their_contexts
    a_message_that_cannot_be_sent_comes_back_without_its_context
    an_unsent_message_is_dropped_in_its_context
    a_dropped_recv_loses_nothing
    a_dropped_run_drops_the_message_at_hand_in_its_context
    a_panic_ends_run_and_leaves_the_others_where_they_are
}

fn ta_14_messages_of_tasks_and_threads_are_handled_in_their_senders_contexts<K: Kind>() {
    for block_on in runtimes() {
        let fate = Arc::new(Fate::new());
        let handled = Arc::new(Mutex::new(Vec::new()));
        block_on(Box::pin(send_and_handle::<K>(
            Arc::clone(&fate),
            Arc::clone(&handled),
        )));

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
    }
}

type Handled = Arc<Mutex<Vec<(u64, [Option<u64>; 4])>>>;

async fn send_and_handle<K: Kind>(fate: Arc<Fate>, handled: Handled) {
    let (sender, receiver) = K::open(1);
    ID.set(9);
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

fn the_context_is_that_of_the_call<K: Kind>() {
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

fn local_variables_stay_behind<K: Kind>() {
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

/// Sends a message from a context of its own, with `id` for both.
#[track_caller]
fn send<K: Kind>(fate: &Fate, sender: &mut channel::Sender<K::Sender>, id: u64) {
    let message = (id, fate.messages.value());
    let sent = fate.sent_from(id, || K::try_send(sender, message));
    assert!(sent.is_ok());
}

fn a_receiver_keeps_no_context_between_messages<K: Kind>() {
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

fn unread_messages_are_dropped_in_their_contexts<K: Kind>() {
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

fn a_message_that_cannot_be_sent_comes_back_without_its_context<K: Kind>() {
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

fn an_unsent_message_is_dropped_in_its_context<K: Kind>() {
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

fn a_dropped_recv_loses_nothing<K: Kind>() {
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

fn a_dropped_run_drops_the_message_at_hand_in_its_context<K: Kind>() {
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

fn a_panic_ends_run_and_leaves_the_others_where_they_are<K: Kind>() {
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

#[test]
fn replies_come_back_without_a_context() {
    for block_on in runtimes() {
        block_on(Box::pin(async {
            type Request = (u64, oneshot::Sender<Option<u64>>);
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
        }));
    }
}

#[test]
fn a_sender_is_a_sink_that_wraps_when_it_takes_the_message() {
    let (mut sender, mut receiver) = channel::carrying(mpsc::channel(3));
    ID.set(1);
    let mut feed = pin!(sender.feed(1));
    ID.set(2);
    assert!(matches!(poll(feed.as_mut()), Poll::Ready(Ok(()))));
    let mut rest = stream::iter([3, 4]).map(|id| {
        ID.set(id);
        Ok(id)
    });
    futures::executor::block_on(sender.send_all(&mut rest)).unwrap();
    futures::executor::block_on(sender.close()).unwrap();
    assert!(sender.try_send(5).unwrap_err().is_disconnected());

    for expected in [(1, Some(2)), (3, Some(3)), (4, Some(4))] {
        let message = futures::executor::block_on(receiver.next()).unwrap();
        assert_eq!(message.run(|number| (number, ID.get())), expected);
    }
}

#[test]
fn a_receiver_is_the_stream_that_its_channel_is() {
    let (sender, mut receiver) = channel::carrying(mpsc::unbounded());
    assert_eq!(receiver.size_hint(), receiver.get_ref().size_hint());
    assert!(!receiver.is_terminated());
    for id in 1..=3 {
        ID.set(id);
        sender.unbounded_send(id).unwrap();
    }
    drop(sender);
    ID.set(9);
    let handled = receiver.by_ref().map(|message| {
        message.scope(async |number| {
            shim::yield_now().await;
            (number, ID.get())
        })
    });
    let handled: Vec<_> = futures::executor::block_on(handled.buffer_unordered(2).collect());
    assert_eq!(handled, [(1, Some(1)), (2, Some(2)), (3, Some(3))]);
    assert!(receiver.is_terminated());
}

#[test]
fn what_is_wrapped_can_be_wrapped_again() {
    let (sender, receiver) = channel::carrying(mpsc::unbounded());
    let (mut sender, receiver) = (sender.into_inner(), receiver.into_inner());
    let mut receiver = Receiver::new(receiver);
    ID.set(1);
    let again = channel::Sender::new(sender.clone());
    again.unbounded_send(1).unwrap();
    // By hand, and in another context.
    let context = Context::new().with_value(&ID, 2);
    let message = aiocontextvars::Carried::new_in(context, 2);
    sender.start_send(message).unwrap();
    drop((sender, again));
    let mut seen = Vec::new();
    futures::executor::block_on(receiver.run(|number| {
        seen.push((number, ID.get()));
        future::ready(())
    }));
    assert_eq!(seen, [(1, Some(1)), (2, Some(2))]);
}

#[cfg(feature = "async-channel")]
#[test]
fn receivers_of_async_channel_share_the_messages() {
    let (sender, receiver) = channel::carrying(async_channel::bounded(2));
    let receivers = [receiver.clone(), receiver];
    let fate = Fate::new();
    ID.set(9);
    for id in 1..=2 {
        let message = fate.messages.value();
        fate.sent_from(id, || sender.try_send(message)).unwrap();
    }
    let message = fate.messages.value();
    let displaced = fate.sent_from(3, || sender.force_send(message)).unwrap();
    fate.is_there();
    // It was the oldest or the newest one.
    let displaced = displaced.unwrap().run(|_message| ID.get().unwrap());
    fate.is_gone(displaced);
    for (mut receiver, id) in
        receivers
            .into_iter()
            .zip(if displaced == 1 { [2, 3] } else { [1, 3] })
    {
        let Poll::Ready(Some(message)) = poll(pin!(receiver.recv())) else {
            panic!("there is a message");
        };
        drop(message);
        fate.is_gone(id);
    }
    let message = fate.messages.value();
    let error = fate.sent_from(4, || sender.force_send(message));
    fate.is(&[], &[Some(9)]);
    drop(error.unwrap_err().into_inner());
    fate.is(&[Some(9)], &[]);
}

#[cfg(feature = "tokio")]
#[test]
fn a_send_of_tokio_that_comes_too_late_gives_the_message_back() {
    use std::time::Duration;
    use tokio::sync::mpsc::error::SendTimeoutError;

    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let fate = Fate::new();
    let (sender, mut receiver) = channel::carrying(tokio::sync::mpsc::channel(1));
    ID.set(9);
    let send = |id| {
        let message = fate.messages.value();
        fate.sent_from(id, || sender.send_timeout(message, Duration::from_secs(1)))
    };
    runtime.block_on(send(1)).unwrap();
    let error = runtime.block_on(send(2)).unwrap_err();
    assert!(matches!(error, SendTimeoutError::Timeout(_)));
    fate.is(&[], &[None]);
    drop(error);
    fate.is(&[Some(9)], &[]);

    let mut waiting = Box::pin(send(3));
    let _entered = runtime.enter();
    assert!(poll(waiting.as_mut()).is_pending());
    drop(waiting);
    fate.is_gone(3);

    receiver.get_mut().close();
    let error = runtime.block_on(send(4)).unwrap_err();
    assert!(matches!(error, SendTimeoutError::Closed(_)));
    fate.is(&[], &[None]);
    drop(error);
    fate.is(&[Some(9)], &[]);
    drop(receiver.get_mut().try_recv().unwrap());
    fate.is_gone(1);
}
