//! Channels in which each message brings the context it was sent from.
//!
//! A channel carries no context: an actor that handles the messages of many tasks sees
//! its own variables, not those of the task that sent the message. Here a [`Sender`] puts
//! each message into a [`Carried`], at the call of `send` and in a copy of the context that is
//! current there, and a [`Receiver`] handles each in its own.
//!
//! The channel is one of `futures::channel::mpsc`, of async-channel (feature `async-channel`) or of
//! `tokio::sync::mpsc` (feature `tokio`), bounded or not, made as usual and given to [`carrying`].
//! A sender has the methods of its channel that send, with `T` where the channel has `Carried<T>`;
//! a receiver's methods are the same for all. Everything else is the channel's, and there by
//! `get_ref` and `get_mut`.
//!
//! Between two messages a receiver keeps no context.
//!
//! # Examples
//!
//! An actor that knows whose message it handles:
//!
//! ```
//! use aiocontextvars::{channel, context_var, shim};
//! use futures::channel::mpsc;
//!
//! context_var! { static REQUEST_ID: u64; }
//!
//! shim::block_on(async {
//!     let (mut sender, mut receiver) = channel::carrying(mpsc::channel(8));
//!     let actor = shim::spawn(async move {
//!         receiver.run(async |id| {
//!             assert_eq!(REQUEST_ID.get(), Some(id));
//!             // Also after an await, and in what is spawned here.
//!             let child = shim::spawn(async { REQUEST_ID.get() });
//!             assert_eq!(child.await.unwrap(), Some(id));
//!         }).await;
//!     });
//!
//!     REQUEST_ID.set(7);
//!     sender.send(7).await.unwrap();
//!     REQUEST_ID.set(8);
//!     sender.send(8).await.unwrap();
//!     drop(sender);
//!     actor.await.unwrap();
//! });
//! ```
//!
//! Requests and replies: the way back is a oneshot in the message. Whoever awaits it is in its own
//! context anyway. And an actor with state of its own, in a loop of its own:
//!
//! ```
//! use aiocontextvars::{channel, context_var, shim};
//! use futures::channel::{mpsc, oneshot};
//!
//! context_var! { static TENANT: String; }
//!
//! shim::block_on(async {
//!     let (mut sender, mut receiver) = channel::carrying(mpsc::channel::<_>(8));
//!     shim::spawn(async move {
//!         let mut count = 0;
//!         while let Some(message) = receiver.recv().await {
//!             message.scope(async |(name, reply): (&str, oneshot::Sender<String>)| {
//!                 count += 1;
//!                 let _ = reply.send(format!("{}/{name}-{count}", TENANT.get().unwrap()));
//!             }).await;
//!         }
//!     });
//!
//!     TENANT.set("acme".to_owned());
//!     let (reply, answer) = oneshot::channel();
//!     sender.send(("report", reply)).await.unwrap();
//!     assert_eq!(answer.await.unwrap(), "acme/report-1");
//! });
//! ```
//!
//! On a thread:
//!
//! ```
//! use aiocontextvars::{channel, context_var};
//! use futures::{channel::mpsc, executor};
//!
//! context_var! { static REQUEST_ID: u64; }
//!
//! let (sender, mut receiver) = channel::carrying(mpsc::unbounded());
//! let actor = std::thread::spawn(move || {
//!     while let Some(message) = executor::block_on(receiver.recv()) {
//!         message.run(|text| assert_eq!((text, REQUEST_ID.get()), ("hello", Some(7))));
//!     }
//! });
//! REQUEST_ID.set(7);
//! sender.unbounded_send("hello").unwrap();
//! drop(sender);
//! actor.join().unwrap();
//! ```

mod futures;

#[cfg(feature = "async-channel")]
mod async_channel;

use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use futures_core::stream::{FusedStream, Stream};
use futures_sink::Sink;
use pin_project_lite::pin_project;

pub use self::futures::SendError;
use crate::carried::Carried;

/// Makes a channel of [`Carried`] messages one in which senders wrap and the receiver unwraps.
///
/// # Examples
///
/// ```
/// use aiocontextvars::channel;
///
/// let (sender, receiver) = channel::carrying(futures::channel::mpsc::channel(8));
/// # let _ = (receiver, async { { sender }.send(1).await });
/// ```
///
/// The types have names, of which the inner one is the channel's:
///
/// ```
/// use aiocontextvars::{Carried, channel};
/// use futures::channel::mpsc;
///
/// struct Client {
///     orders: channel::Sender<mpsc::Sender<Carried<u64>>>,
/// }
///
/// struct Actor {
///     orders: channel::Receiver<mpsc::Receiver<Carried<u64>>>,
/// }
///
/// let (sender, receiver) = channel::carrying(mpsc::channel(8));
/// let (client, actor) = (Client { orders: sender }, Actor { orders: receiver });
/// # let _ = (client.orders, actor.orders);
/// ```
pub fn carrying<S, R>((sender, receiver): (S, R)) -> (Sender<S>, Receiver<R>)
where
    (S, R): CarriedChannel,
{
    (Sender::new(sender), Receiver::new(receiver))
}

pin_project! {
    /// A sender that puts each message into a [`Carried`], in a copy of the context that is current
    /// at the call.
    ///
    /// `S` is the sender of a channel of `Carried` messages, and tells which methods there are.
    /// Where the wrapped sender is [`Sink`], this is too.
    ///
    /// # Examples
    ///
    /// See the [module](self).
    #[derive(Clone, Debug)]
    pub struct Sender<S> {
        #[pin]
        pub(crate) inner: S,
    }
}

impl<S> Sender<S> {
    /// Wraps a sender.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, channel::Sender};
    /// use futures::channel::mpsc;
    ///
    /// let (sender, mut receiver) = mpsc::unbounded::<Carried<u64>>();
    /// Sender::new(sender).unbounded_send(7).unwrap();
    /// # assert_eq!(futures::executor::block_on(futures::StreamExt::next(&mut receiver)).unwrap().into_inner(), 7);
    /// ```
    pub fn new(inner: S) -> Sender<S> {
        Sender { inner }
    }

    /// The wrapped sender. What is sent with it is in the context that it was wrapped in, by
    /// [`Carried::new`] or [`Carried::new_in`].
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, Context, channel};
    ///
    /// let (sender, receiver) = channel::carrying(futures::channel::mpsc::unbounded());
    /// sender.get_ref().unbounded_send(Carried::new_in(Context::new(), 7)).unwrap();
    /// # drop(receiver);
    /// ```
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The wrapped sender; see [`get_ref`](Self::get_ref).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, channel};
    ///
    /// let (mut sender, receiver) = channel::carrying(futures::channel::mpsc::channel(1));
    /// # sender.try_send(7).unwrap();
    /// sender.get_mut().disconnect();
    /// assert!(sender.get_ref().is_closed());
    /// # drop(receiver);
    /// ```
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The wrapped sender.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, channel};
    /// use futures::channel::mpsc;
    ///
    /// let (sender, receiver) = channel::carrying(mpsc::unbounded());
    /// let bare: mpsc::UnboundedSender<Carried<u64>> = sender.into_inner();
    /// # drop((bare, receiver));
    /// ```
    pub fn into_inner(self) -> S {
        self.inner
    }
}

/// The context is that of `start_send`. `SinkExt::feed` and `send_all` come to that while they are
/// polled. (`send` is not the sink's here, but the sender's own method.)
impl<S: Sink<Carried<T>>, T> Sink<T> for Sender<S> {
    type Error = S::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.project().inner.poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: T) -> Result<(), S::Error> {
        self.project().inner.start_send(Carried::new(message))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.project().inner.poll_close(cx)
    }
}

pin_project! {
    /// A receiver of [`Carried`] messages that handles each in its own context.
    ///
    /// `R` is a channel's receiver. Where it is a [`Stream`], this is too, of `Carried` messages;
    /// and where it can be cloned, so can this.
    ///
    /// # Examples
    ///
    /// See the [module](self). Several messages at a time:
    ///
    /// ```
    /// use aiocontextvars::{channel, context_var, shim};
    /// use futures::{StreamExt, channel::mpsc};
    ///
    /// context_var! { static REQUEST_ID: u64; }
    ///
    /// let (sender, receiver) = channel::carrying(mpsc::unbounded());
    /// for id in 1..=3 {
    ///     REQUEST_ID.set(id);
    ///     sender.unbounded_send(id).unwrap();
    /// }
    /// drop(sender);
    /// shim::block_on(receiver.for_each_concurrent(2, |message| {
    ///     message.scope(async |id| {
    ///         shim::yield_now().await;
    ///         assert_eq!(REQUEST_ID.get(), Some(id));
    ///     })
    /// }));
    /// ```
    #[derive(Clone, Debug)]
    pub struct Receiver<R> {
        #[pin]
        inner: R,
    }
}

impl<R> Receiver<R> {
    /// Wraps a receiver.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, channel::Receiver, shim};
    /// use futures::channel::mpsc;
    ///
    /// let (sender, receiver) = mpsc::unbounded();
    /// sender.unbounded_send(Carried::new(7)).unwrap();
    /// drop(sender);
    /// shim::block_on(Receiver::new(receiver).run(async |message| assert_eq!(message, 7)));
    /// ```
    pub fn new(inner: R) -> Receiver<R> {
        Receiver { inner }
    }

    /// The wrapped receiver, which gives `Carried` messages by all methods it has.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::channel;
    /// use futures::stream::FusedStream;
    ///
    /// let (sender, receiver) = channel::carrying(futures::channel::mpsc::unbounded());
    /// sender.unbounded_send(7).unwrap();
    /// assert!(!receiver.get_ref().is_terminated());
    /// ```
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// The wrapped receiver, as [`get_ref`](Self::get_ref).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::channel;
    ///
    /// let (sender, mut receiver) = channel::carrying(futures::channel::mpsc::unbounded());
    /// receiver.get_mut().close();
    /// assert!(sender.unbounded_send(7).is_err());
    /// ```
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// The wrapped receiver.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, channel};
    /// use futures::channel::mpsc;
    ///
    /// let (sender, receiver) = channel::carrying(mpsc::unbounded());
    /// let bare: mpsc::UnboundedReceiver<Carried<u64>> = receiver.into_inner();
    /// # drop((sender, bare));
    /// ```
    pub fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Mailbox> Receiver<R> {
    /// Waits for the next message. `None` if there will be none.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no message has been taken out of the channel.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{channel, shim};
    ///
    /// let (sender, mut receiver) = channel::carrying(futures::channel::mpsc::unbounded());
    /// sender.unbounded_send(7).unwrap();
    /// drop(sender);
    /// shim::block_on(async {
    ///     assert_eq!(receiver.recv().await.unwrap().into_inner(), 7);
    ///     assert!(receiver.recv().await.is_none());
    /// });
    /// ```
    pub async fn recv(&mut self) -> Option<Carried<R::Message>> {
        self.inner.next_carried().await
    }

    /// Calls `handle` for each message, one after another and each in the message's context, until
    /// there will be no more.
    ///
    /// Between two messages there is no context but the caller's. A panic of `handle` propagates:
    /// its message is lost, and those behind it are still in the channel.
    ///
    /// The futures cannot borrow what `handle` keeps between the messages. Where they have to, or
    /// where the end is not that of the channel, call [`recv`](Self::recv) in a loop, and
    /// [`Carried::scope`] on what it gives, as in the [module](self)'s examples.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the handling of the message at hand is dropped with it, inside the
    /// message's context. All others are still in the channel.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{channel, context_var, shim};
    ///
    /// context_var! { static REQUEST_ID: u64; }
    ///
    /// let (sender, mut receiver) = channel::carrying(futures::channel::mpsc::unbounded());
    /// for id in 1..=3 {
    ///     REQUEST_ID.set(id);
    ///     sender.unbounded_send(id).unwrap();
    /// }
    /// drop(sender);
    /// shim::block_on(receiver.run(async |id| assert_eq!(REQUEST_ID.get(), Some(id))));
    /// ```
    pub async fn run<F>(&mut self, mut handle: impl FnMut(R::Message) -> F)
    where
        F: Future<Output = ()>,
    {
        while let Some(message) = self.recv().await {
            message.scope(&mut handle).await;
        }
    }
}

impl<R: Stream> Stream for Receiver<R> {
    type Item = R::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<R::Item>> {
        self.project().inner.poll_next(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

impl<R: FusedStream> FusedStream for Receiver<R> {
    fn is_terminated(&self) -> bool {
        self.inner.is_terminated()
    }
}

/// Both ends of a channel of [`Carried`] messages, for [`carrying`].
///
/// This trait is sealed: it is for the channels that the [module](self) names.
///
/// # Examples
///
/// A function that is given a channel:
///
/// ```
/// use aiocontextvars::channel::{self, CarriedChannel, Receiver, Sender};
///
/// fn open<S, R>(inner: (S, R)) -> (Sender<S>, Receiver<R>)
/// where
///     (S, R): CarriedChannel,
/// {
///     channel::carrying(inner)
/// }
///
/// let (sender, receiver) = open(futures::channel::mpsc::unbounded());
/// sender.unbounded_send(1).unwrap();
/// # drop(receiver);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` are not the two ends of a channel of `Carried` messages",
    label = "its messages are not `Carried`, or it is none of the channels that are known",
    note = "the type of the messages is inferred where it is left out: `carrying(mpsc::channel(8))`",
    note = "where it is written, it is `Carried`: `carrying(mpsc::channel::<Carried<Message>>(8))`",
    note = "channels of other crates than `futures` need the feature of that crate's name"
)]
pub trait CarriedChannel: sealed::Sealed {}

/// A channel's receiver of [`Carried`] messages.
///
/// This trait is sealed.
///
/// It does not say that the futures of [`recv`](Receiver::recv) and [`run`](Receiver::run) are
/// `Send`: those of the channels are, but code that is generic over `R: Mailbox` cannot prove it,
/// and cannot spawn them where tasks have to be `Send`. Spawn them where the type is known, or [on
/// this thread](crate::shim::spawn_local).
///
/// # Examples
///
/// ```
/// use aiocontextvars::channel::{self, Mailbox, Receiver};
/// use aiocontextvars::shim;
/// use futures::channel::mpsc;
///
/// async fn log<R: Mailbox<Message = String>>(mut lines: Receiver<R>) {
///     lines.run(async |line| println!("{line}")).await;
/// }
///
/// shim::block_on(async {
///     let (sender, receiver) = channel::carrying(mpsc::unbounded());
///     let logger = shim::spawn(log(receiver));
///     sender.unbounded_send("hello".to_owned()).unwrap();
///     drop(sender);
///     logger.await.unwrap();
/// });
/// ```
pub trait Mailbox: sealed::Sealed {
    /// What is carried.
    type Message;

    #[doc(hidden)]
    fn next_carried(&mut self) -> impl Future<Output = Option<Carried<Self::Message>>>;
}

pub(crate) mod sealed {
    pub trait Sealed {}

    /// The two ends of a channel whose receiver is known.
    impl<S, R: Sealed> Sealed for (S, R) {}
}
