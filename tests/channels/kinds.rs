//! The kinds of channels, as the tests use them.

use std::future::Future;

use aiocontextvars::Carried;
use aiocontextvars::channel::{self, Mailbox, Receiver, SendError, Sender};
use futures::channel::mpsc;
use futures::future::BoxFuture;

use crate::witness::Seen;

/// A number, and a value that sees where it is dropped.
pub(crate) type Message = (u64, Seen);

/// What an error has of a message that was not sent.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) message: Message,
    pub(crate) full: bool,
}

pub(crate) type Sent = Result<(), Unsent>;

/// A kind of channel.
pub(crate) trait Kind: 'static {
    const BOUNDED: bool;

    /// Whether `send` returns a future.
    const SENDS_LATER: bool = true;

    type Sender: Clone + Send + 'static;

    type Receiver: Mailbox<Message = Message> + Send + 'static;

    /// A channel that has room for so many messages of one sender, if it is bounded.
    fn open(room: usize) -> (Sender<Self::Sender>, Receiver<Self::Receiver>);

    /// `send` is called here, and not when the future is polled.
    fn send(sender: &mut Sender<Self::Sender>, message: Message) -> BoxFuture<'_, Sent>;

    fn try_send(sender: &mut Sender<Self::Sender>, message: Message) -> Sent;

    fn send_blocking(sender: &mut Sender<Self::Sender>, message: Message) -> Sent {
        futures::executor::block_on(Self::send(sender, message))
    }

    /// `Receiver::run`, in a future that can be spawned.
    fn run<H>(
        receiver: Receiver<Self::Receiver>,
        handle: H,
    ) -> BoxFuture<'static, Receiver<Self::Receiver>>
    where
        H: FnMut(Message) -> BoxFuture<'static, ()> + Send + 'static;
}

macro_rules! kind {
    ($name:ident, $sender:ty, $receiver:ty, $bounded:literal, $open:expr, $($methods:tt)*) => {
        pub(crate) struct $name;

        impl Kind for $name {
            const BOUNDED: bool = $bounded;

            type Sender = $sender;

            type Receiver = $receiver;

            fn open(room: usize) -> (Sender<$sender>, Receiver<$receiver>) {
                let open: fn(usize) -> ($sender, $receiver) = $open;
                channel::carrying(open(room))
            }

            fn run<H>(
                mut receiver: Receiver<$receiver>,
                handle: H,
            ) -> BoxFuture<'static, Receiver<$receiver>>
            where
                H: FnMut(Message) -> BoxFuture<'static, ()> + Send + 'static,
            {
                Box::pin(async move {
                    receiver.run(handle).await;
                    receiver
                })
            }

            $($methods)*
        }
    };
}

/// What `send` has returned, with an error of ours.
fn later<'a, E: Into<Unsent>>(
    send: impl Future<Output = Result<(), E>> + Send + 'a,
) -> BoxFuture<'a, Sent> {
    Box::pin(async { send.await.map_err(E::into) })
}

impl From<SendError<Message>> for Unsent {
    fn from(error: SendError<Message>) -> Unsent {
        assert_ne!(error.is_full(), error.is_disconnected());
        Unsent {
            full: error.is_full(),
            message: error.into_inner(),
        }
    }
}

kind! {
    FuturesBounded, mpsc::Sender<Carried<Message>>, mpsc::Receiver<Carried<Message>>, true,
    // Each sender has a place of its own.
    |room| mpsc::channel(room - 1),

    fn send(sender: &mut Sender<Self::Sender>, message: Message) -> BoxFuture<'_, Sent> {
        later(sender.send(message))
    }

    fn try_send(sender: &mut Sender<Self::Sender>, message: Message) -> Sent {
        Ok(sender.try_send(message)?)
    }
}

kind! {
    FuturesUnbounded, mpsc::UnboundedSender<Carried<Message>>, mpsc::UnboundedReceiver<Carried<Message>>, false,
    |_| mpsc::unbounded(),

    fn send(sender: &mut Sender<Self::Sender>, message: Message) -> BoxFuture<'_, Sent> {
        later(sender.send(message))
    }

    fn try_send(sender: &mut Sender<Self::Sender>, message: Message) -> Sent {
        Ok(sender.unbounded_send(message)?)
    }
}

#[cfg(feature = "async-channel")]
mod of_async_channel {
    use super::*;
    use async_channel::{SendError, TrySendError};

    impl From<SendError<Message>> for Unsent {
        fn from(SendError(message): SendError<Message>) -> Unsent {
            Unsent {
                message,
                full: false,
            }
        }
    }

    impl From<TrySendError<Message>> for Unsent {
        fn from(error: TrySendError<Message>) -> Unsent {
            Unsent {
                full: error.is_full(),
                message: error.into_inner(),
            }
        }
    }

    macro_rules! kind_of_async_channel {
        ($name:ident, $bounded:literal, $open:expr) => {
            kind! {
                $name, async_channel::Sender<Carried<Message>>, async_channel::Receiver<Carried<Message>>, $bounded,
                $open,

                fn send(sender: &mut Sender<Self::Sender>, message: Message) -> BoxFuture<'_, Sent> {
                    later(sender.send(message))
                }

                fn try_send(sender: &mut Sender<Self::Sender>, message: Message) -> Sent {
                    Ok(sender.try_send(message)?)
                }

                fn send_blocking(sender: &mut Sender<Self::Sender>, message: Message) -> Sent {
                    Ok(sender.send_blocking(message)?)
                }
            }
        };
    }

    kind_of_async_channel!(AsyncChannelBounded, true, async_channel::bounded);
    kind_of_async_channel!(AsyncChannelUnbounded, false, |_| async_channel::unbounded());
}

#[cfg(feature = "async-channel")]
pub(crate) use of_async_channel::{AsyncChannelBounded, AsyncChannelUnbounded};

#[cfg(feature = "tokio")]
mod of_tokio {
    use super::*;
    use tokio::sync::mpsc;
    use tokio::sync::mpsc::error::{SendError, TrySendError};

    impl From<SendError<Message>> for Unsent {
        fn from(SendError(message): SendError<Message>) -> Unsent {
            Unsent {
                message,
                full: false,
            }
        }
    }

    impl From<TrySendError<Message>> for Unsent {
        fn from(error: TrySendError<Message>) -> Unsent {
            Unsent {
                full: matches!(error, TrySendError::Full(_)),
                message: error.into_inner(),
            }
        }
    }

    kind! {
        TokioBounded, mpsc::Sender<Carried<Message>>, mpsc::Receiver<Carried<Message>>, true,
        mpsc::channel,

        fn send(sender: &mut Sender<Self::Sender>, message: Message) -> BoxFuture<'_, Sent> {
            later(sender.send(message))
        }

        fn try_send(sender: &mut Sender<Self::Sender>, message: Message) -> Sent {
            Ok(sender.try_send(message)?)
        }

        fn send_blocking(sender: &mut Sender<Self::Sender>, message: Message) -> Sent {
            Ok(sender.blocking_send(message)?)
        }
    }

    kind! {
        TokioUnbounded, mpsc::UnboundedSender<Carried<Message>>, mpsc::UnboundedReceiver<Carried<Message>>, false,
        |_| mpsc::unbounded_channel(),

        const SENDS_LATER: bool = false;

        fn send(sender: &mut Sender<Self::Sender>, message: Message) -> BoxFuture<'_, Sent> {
            later(std::future::ready(sender.send(message)))
        }

        fn try_send(sender: &mut Sender<Self::Sender>, message: Message) -> Sent {
            Ok(sender.send(message)?)
        }
    }
}

#[cfg(feature = "tokio")]
pub(crate) use of_tokio::{TokioBounded, TokioUnbounded};
