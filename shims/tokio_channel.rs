//! tokio's channels.

use std::future::Future;
use std::time::Duration;

use ::tokio::sync::mpsc::error::{SendError, SendTimeoutError, TrySendError};
use ::tokio::sync::mpsc::{self, Receiver, UnboundedReceiver, UnboundedSender};

use crate::carried::Carried;
use crate::channel::{CarriedChannel, Mailbox, Sender, sealed};

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
    /// use tokio::sync::mpsc::{self, error::TrySendError};
    ///
    /// let (sender, receiver) = channel::carrying(mpsc::channel(1));
    /// sender.try_send(1).unwrap();
    /// assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    /// # drop(receiver);
    /// ```
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let result = self.inner.try_send(Carried::new(message));
        result.map_err(|error| match error {
            TrySendError::Full(message) => TrySendError::Full(message.into_inner()),
            TrySendError::Closed(message) => TrySendError::Closed(message.into_inner()),
        })
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
    /// To get hold of a place first, and of the message's context only then, reserve one of
    /// [`get_ref`](Self::get_ref), and send it a [`Carried`].
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, channel, context_var, shim};
    /// use tokio::sync::mpsc;
    ///
    /// context_var! { static REQUEST_ID: u64; }
    ///
    /// shim::block_on(async {
    ///     let (sender, mut receiver) = channel::carrying(mpsc::channel(2));
    ///     REQUEST_ID.set(7);
    ///     let send = sender.send("hello");
    ///     let reserve = sender.get_ref().reserve();
    ///     REQUEST_ID.set(8);
    ///     send.await.unwrap();
    ///     reserve.await.unwrap().send(Carried::new("goodbye"));
    ///     for expected in [("hello", Some(7)), ("goodbye", Some(8))] {
    ///         let message = receiver.recv().await.unwrap();
    ///         assert_eq!(message.run(|text| (text, REQUEST_ID.get())), expected);
    ///     }
    /// });
    /// ```
    pub fn send(&self, message: T) -> impl Future<Output = Result<(), SendError<T>>> {
        let send = self.inner.send(Carried::new(message));
        async move { send.await.map_err(unwrap) }
    }

    /// Sends a message, in a copy of the context that is current now, if there is room before
    /// `timeout` has passed.
    ///
    /// # Errors
    ///
    /// If there is no room, or the channel is closed. The error has the message.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a runtime with a time driver.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the message has not been sent, and is dropped inside its context.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use aiocontextvars::channel;
    /// use tokio::sync::mpsc::{self, error::SendTimeoutError};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let (sender, receiver) = channel::carrying(mpsc::channel(1));
    /// let second = Duration::from_secs(1);
    /// sender.send_timeout(1, second).await.unwrap();
    /// assert_eq!(sender.send_timeout(2, second).await, Err(SendTimeoutError::Timeout(2)));
    /// # drop(receiver);
    /// # }
    /// ```
    pub fn send_timeout(
        &self,
        message: T,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), SendTimeoutError<T>>> {
        let send = self.inner.send_timeout(Carried::new(message), timeout);
        async move {
            send.await.map_err(|error| match error {
                SendTimeoutError::Timeout(message) => {
                    SendTimeoutError::Timeout(message.into_inner())
                }
                SendTimeoutError::Closed(message) => SendTimeoutError::Closed(message.into_inner()),
            })
        }
    }

    /// Sends a message, in a copy of the current context, and blocks the thread until there is
    /// room.
    ///
    /// # Errors
    ///
    /// If the channel is closed. The error has the message.
    ///
    /// # Panics
    ///
    /// In a task or in `Runtime::block_on`.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::channel;
    /// use tokio::sync::mpsc;
    ///
    /// let (sender, receiver) = channel::carrying(mpsc::channel(1));
    /// sender.blocking_send(1).unwrap();
    /// drop(receiver);
    /// assert_eq!(sender.blocking_send(2).unwrap_err().0, 2);
    /// ```
    #[track_caller]
    pub fn blocking_send(&self, message: T) -> Result<(), SendError<T>> {
        let result = self.inner.blocking_send(Carried::new(message));
        result.map_err(unwrap)
    }
}

impl<T> Sender<UnboundedSender<Carried<T>>> {
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
    /// use tokio::sync::mpsc;
    ///
    /// let (sender, receiver) = channel::carrying(mpsc::unbounded_channel());
    /// sender.send(1).unwrap();
    /// drop(receiver);
    /// assert_eq!(sender.send(2).unwrap_err().0, 2);
    /// ```
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.inner.send(Carried::new(message)).map_err(unwrap)
    }
}

fn unwrap<T>(SendError(message): SendError<Carried<T>>) -> SendError<T> {
    SendError(message.into_inner())
}

impl<T> CarriedChannel for (mpsc::Sender<Carried<T>>, Receiver<Carried<T>>) {}

impl<T> CarriedChannel for (UnboundedSender<Carried<T>>, UnboundedReceiver<Carried<T>>) {}

impl<T> sealed::Sealed for Receiver<Carried<T>> {}

impl<T> Mailbox for Receiver<Carried<T>> {
    type Message = T;

    fn next_carried(&mut self) -> impl Future<Output = Option<Carried<T>>> {
        self.recv()
    }
}

impl<T> sealed::Sealed for UnboundedReceiver<Carried<T>> {}

impl<T> Mailbox for UnboundedReceiver<Carried<T>> {
    type Message = T;

    fn next_carried(&mut self) -> impl Future<Output = Option<Carried<T>>> {
        self.recv()
    }
}
