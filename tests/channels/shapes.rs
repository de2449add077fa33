//! What one kind of channel has and others have not.

use std::pin::pin;
use std::task::Poll;

use aiocontextvars::channel::{self, Receiver};
use aiocontextvars::{Carried, Context, shim};
use futures::channel::mpsc;
use futures::future;
use futures::sink::SinkExt;
use futures::stream::{self, FusedStream, Stream, StreamExt};

#[cfg(any(feature = "async-channel", feature = "tokio"))]
use crate::witness::Fate;
use crate::witness::{ID, poll};

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
    let message = Carried::new_in(context, 2);
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
