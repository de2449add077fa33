//! Messages, which have the context that they are sent from with them.

use aiocontextvars::channel::{self, Mailbox, Receiver};
use aiocontextvars::{Carried, Context};
use futures::channel::mpsc;
use futures::{FutureExt, SinkExt};

use crate::{Answer, given, inherits, see, sees};

/// What is seen where the message is handled.
fn handled(message: Carried<()>) -> Answer {
    Box::pin(async { message.scope(|()| sees()).await })
}

/// The same where it is received.
fn received<R: Mailbox<Message = ()> + 'static>(mut receiver: Receiver<R>) -> Answer {
    Box::pin(async move { receiver.recv().await.unwrap().run(|()| see()) })
}

/// Nobody has to wait: there is room.
fn now<T, E: std::fmt::Debug>(send: impl Future<Output = Result<T, E>>) -> T {
    send.now_or_never().unwrap().unwrap()
}

#[allow(unused_mut, reason = "without features nothing is added")]
pub(crate) fn inheriting() -> Vec<inherits::Hop> {
    #[rustfmt::skip]
    let mut hops: Vec<inherits::Hop> = vec![
        ("Carried::new", || handled(Carried::new(()))),
        ("futures: try_send", || {
            let (mut sender, receiver) = channel::carrying(mpsc::channel(1));
            sender.try_send(()).unwrap();
            received(receiver)
        }),
        ("futures: send", || {
            let (mut sender, receiver) = channel::carrying(mpsc::channel(1));
            now(sender.send(()));
            received(receiver)
        }),
        ("futures: feed", || {
            let (mut sender, receiver) = channel::carrying(mpsc::channel(1));
            now(sender.feed(()));
            received(receiver)
        }),
        ("futures: unbounded_send", || {
            let (sender, receiver) = channel::carrying(mpsc::unbounded());
            sender.unbounded_send(()).unwrap();
            received(receiver)
        }),
        ("futures, unbounded: send", || {
            let (mut sender, receiver) = channel::carrying(mpsc::unbounded());
            now(sender.send(()));
            received(receiver)
        }),
    ];
    #[cfg(feature = "async-channel")]
    hops.extend(of_async_channel());
    #[cfg(feature = "tokio")]
    hops.extend(of_tokio());
    hops
}

#[cfg(feature = "async-channel")]
#[rustfmt::skip]
fn of_async_channel() -> [inherits::Hop; 4] {
    [
        ("async-channel: try_send", || {
            let (sender, receiver) = channel::carrying(async_channel::bounded(1));
            sender.try_send(()).unwrap();
            received(receiver)
        }),
        ("async-channel: send", || {
            let (sender, receiver) = channel::carrying(async_channel::bounded(1));
            now(sender.send(()));
            received(receiver)
        }),
        ("async-channel: send_blocking", || {
            let (sender, receiver) = channel::carrying(async_channel::bounded(1));
            sender.send_blocking(()).unwrap();
            received(receiver)
        }),
        ("async-channel: force_send", || {
            let (sender, receiver) = channel::carrying(async_channel::unbounded());
            assert!(sender.force_send(()).unwrap().is_none());
            received(receiver)
        }),
    ]
}

#[cfg(feature = "tokio")]
#[rustfmt::skip]
fn of_tokio() -> [inherits::Hop; 5] {
    use tokio::sync::mpsc;
    [
        ("tokio: try_send", || {
            let (sender, receiver) = channel::carrying(mpsc::channel(1));
            sender.try_send(()).unwrap();
            received(receiver)
        }),
        ("tokio: send", || {
            let (sender, receiver) = channel::carrying(mpsc::channel(1));
            now(sender.send(()));
            received(receiver)
        }),
        ("tokio: send_timeout", || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_time().build().unwrap();
            let _entered = runtime.enter();
            let (sender, receiver) = channel::carrying(mpsc::channel(1));
            now(sender.send_timeout((), std::time::Duration::from_secs(60)));
            received(receiver)
        }),
        ("tokio: blocking_send", || {
            let (sender, receiver) = channel::carrying(mpsc::channel(1));
            sender.blocking_send(()).unwrap();
            received(receiver)
        }),
        ("tokio, unbounded: send", || {
            let (sender, receiver) = channel::carrying(mpsc::unbounded_channel());
            sender.send(()).unwrap();
            received(receiver)
        }),
    ]
}

pub(crate) fn given() -> [given::Hop; 2] {
    [
        ("Carried::new_in", |context: Context| {
            handled(Carried::new_in(context, ()))
        }),
        ("a message that a channel is given", |context| {
            let (sender, receiver) = channel::carrying(mpsc::unbounded());
            let message = Carried::new_in(context, ());
            sender.get_ref().unbounded_send(message).unwrap();
            received(receiver)
        }),
    ]
}
