//! The channels of `futures`.

use std::error::Error;
use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;

use futures_channel::mpsc::{self, TrySendError};
use futures_core::stream::Stream;

use super::{CarriedChannel, Mailbox, Sender, sealed};
use crate::carried::Carried;

impl<T> Sender<mpsc::Sender<Carried<T>>> {
    /// Sends a message, in a copy of the current context, if there is room now.
    ///
    /// # Errors
    ///
    /// If the channel is full or closed. The error has the message.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::channel;
    ///
    /// let (mut sender, receiver) = channel::carrying(futures::channel::mpsc::channel(0));
    /// sender.try_send(1).unwrap();
    /// let error = sender.try_send(2).unwrap_err();
    /// assert!(error.is_full());
    /// assert_eq!(error.into_inner(), 2);
    /// # drop(receiver);
    /// ```
    pub fn try_send(&mut self, message: T) -> Result<(), SendError<T>> {
        self.inner.try_send(Carried::new(message)).map_err(error)
    }

    /// Sends a message, in a copy of the context that is current now, when there is room.
    ///
    /// # Errors
    ///
    /// If the channel is closed. The error has the message.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the message has not been sent, and is dropped inside its context.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{channel, context_var, shim};
    ///
    /// context_var! { static REQUEST_ID: u64; }
    ///
    /// shim::block_on(async {
    ///     let (mut sender, mut receiver) = channel::carrying(futures::channel::mpsc::channel(1));
    ///     REQUEST_ID.set(7);
    ///     let send = sender.send("hello");
    ///     REQUEST_ID.set(8);
    ///     send.await.unwrap();
    ///     let message = receiver.recv().await.unwrap();
    ///     assert_eq!(message.run(|text| (text, REQUEST_ID.get())), ("hello", Some(7)));
    /// });
    /// ```
    pub fn send(&mut self, message: T) -> impl Future<Output = Result<(), SendError<T>>> {
        let message = Carried::new(message);
        async move {
            let ready = future::poll_fn(|cx| self.inner.poll_ready(cx)).await;
            match ready {
                Ok(()) => self.inner.try_send(message).map_err(error),
                Err(_closed) => Err(SendError {
                    message: message.into_inner(),
                    full: false,
                }),
            }
        }
    }
}

impl<T> Sender<mpsc::UnboundedSender<Carried<T>>> {
    /// Sends a message, in a copy of the current context.
    ///
    /// # Errors
    ///
    /// If the channel is closed. The error has the message.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::channel;
    ///
    /// let (sender, receiver) = channel::carrying(futures::channel::mpsc::unbounded());
    /// sender.unbounded_send(1).unwrap();
    /// drop(receiver);
    /// let error = sender.unbounded_send(2).unwrap_err();
    /// assert!(error.is_disconnected());
    /// assert_eq!(error.into_inner(), 2);
    /// ```
    pub fn unbounded_send(&self, message: T) -> Result<(), SendError<T>> {
        let message = Carried::new(message);
        self.inner.unbounded_send(message).map_err(error)
    }

    /// Sends a message by a future, as to a bounded channel, and in a copy of the context that is
    /// current now. It does not wait.
    ///
    /// # Errors
    ///
    /// If the channel is closed. The error has the message.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the message has not been sent, and is dropped inside its context.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{channel, shim};
    ///
    /// let (mut sender, receiver) = channel::carrying(futures::channel::mpsc::unbounded());
    /// shim::block_on(sender.send(1)).unwrap();
    /// # drop(receiver);
    /// ```
    pub fn send(&mut self, message: T) -> impl Future<Output = Result<(), SendError<T>>> {
        let message = Carried::new(message);
        async move { self.inner.unbounded_send(message).map_err(error) }
    }
}

fn error<T>(error: TrySendError<Carried<T>>) -> SendError<T> {
    SendError {
        full: error.is_full(),
        message: error.into_inner().into_inner(),
    }
}

impl<T> CarriedChannel for (mpsc::Sender<Carried<T>>, mpsc::Receiver<Carried<T>>) {}

impl<T> CarriedChannel
    for (
        mpsc::UnboundedSender<Carried<T>>,
        mpsc::UnboundedReceiver<Carried<T>>,
    )
{
}

impl<T> sealed::Sealed for mpsc::Receiver<Carried<T>> {}

impl<T> Mailbox for mpsc::Receiver<Carried<T>> {
    type Message = T;

    fn next_carried(&mut self) -> impl Future<Output = Option<Carried<T>>> {
        future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx))
    }
}

impl<T> sealed::Sealed for mpsc::UnboundedReceiver<Carried<T>> {}

impl<T> Mailbox for mpsc::UnboundedReceiver<Carried<T>> {
    type Message = T;

    fn next_carried(&mut self) -> impl Future<Output = Option<Carried<T>>> {
        future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx))
    }
}

/// A message that could not be sent to a channel of `futures`, and why.
///
/// The other channels have such errors themselves. `futures` has one that nobody else can make.
///
/// # Examples
///
/// ```
/// use aiocontextvars::channel;
///
/// let (sender, _) = channel::carrying(futures::channel::mpsc::unbounded());
/// let error = sender.unbounded_send("hello").unwrap_err();
/// assert_eq!(error.to_string(), "the channel is closed");
/// assert_eq!(error.into_inner(), "hello");
/// ```
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct SendError<T> {
    message: T,
    full: bool,
}

impl<T> SendError<T> {
    /// Whether there is no room now.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether the receiver has been closed or dropped.
    pub fn is_disconnected(&self) -> bool {
        !self.full
    }

    /// The message.
    pub fn into_inner(self) -> T {
        self.message
    }

    fn reason(&self) -> &'static str {
        if self.full {
            "the channel is full"
        } else {
            "the channel is closed"
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    /// Does not show the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendError({:?})", self.reason())
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl<T> Error for SendError<T> {}
