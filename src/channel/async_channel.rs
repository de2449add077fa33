//! The channels of async-channel.

use std::future::Future;

use ::async_channel::{Receiver, SendError, TrySendError};

use super::{CarriedChannel, Mailbox, Sender, sealed};
use crate::carried::Carried;

impl<T> Sender<::async_channel::Sender<Carried<T>>> {
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
    /// use async_channel::TrySendError;
    ///
    /// let (sender, receiver) = channel::carrying(async_channel::bounded(1));
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
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{channel, context_var, shim};
    ///
    /// context_var! { static REQUEST_ID: u64; }
    ///
    /// shim::block_on(async {
    ///     let (sender, mut receiver) = channel::carrying(async_channel::bounded(1));
    ///     REQUEST_ID.set(7);
    ///     let send = sender.send("hello");
    ///     REQUEST_ID.set(8);
    ///     send.await.unwrap();
    ///     let message = receiver.recv().await.unwrap();
    ///     assert_eq!(message.run(|text| (text, REQUEST_ID.get())), ("hello", Some(7)));
    /// });
    /// ```
    pub fn send(&self, message: T) -> impl Future<Output = Result<(), SendError<T>>> {
        let send = self.inner.send(Carried::new(message));
        async move { send.await.map_err(unwrap) }
    }

    /// Sends a message, in a copy of the current context, and blocks the thread until there is
    /// room.
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
    /// let (sender, receiver) = channel::carrying(async_channel::unbounded());
    /// sender.send_blocking(1).unwrap();
    /// drop(receiver);
    /// assert_eq!(sender.send_blocking(2).unwrap_err().into_inner(), 2);
    /// ```
    pub fn send_blocking(&self, message: T) -> Result<(), SendError<T>> {
        let result = self.inner.send_blocking(Carried::new(message));
        result.map_err(unwrap)
    }

    /// Sends a message, in a copy of the current context. If there is no room, it takes the place
    /// of another message, which is returned.
    ///
    /// # Errors
    ///
    /// If the channel is closed. The error has the message.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, channel};
    ///
    /// let (sender, receiver) = channel::carrying(async_channel::bounded(1));
    /// sender.try_send(1).unwrap();
    /// let displaced = sender.force_send(2).unwrap();
    /// assert_eq!(displaced.map(Carried::into_inner), Some(1));
    /// # drop(receiver);
    /// ```
    pub fn force_send(&self, message: T) -> Result<Option<Carried<T>>, SendError<T>> {
        let result = self.inner.force_send(Carried::new(message));
        result.map_err(unwrap)
    }
}

fn unwrap<T>(SendError(message): SendError<Carried<T>>) -> SendError<T> {
    SendError(message.into_inner())
}

impl<T> CarriedChannel for (::async_channel::Sender<Carried<T>>, Receiver<Carried<T>>) {}

impl<T> sealed::Sealed for Receiver<Carried<T>> {}

impl<T> Mailbox for Receiver<Carried<T>> {
    type Message = T;

    async fn next_carried(&mut self) -> Option<Carried<T>> {
        self.recv().await.ok()
    }
}
