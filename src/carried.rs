//! [`Carried`]: a value with the context that it was sent from.

use std::fmt;

use crate::context::Context;
use crate::current;
use crate::with_context::{ContextExt, WithContext};

/// A value and the context it was sent from, for the way from one unit of work to another: a
/// message to an actor, a job in a queue.
///
/// A channel carries no context: a task that handles other tasks' messages does so in its
/// own. With a `Carried` the sender's context comes along, and the message is handled there, by
/// [`run`](Self::run) or by [`scope`](Self::scope). What handling it sets stays in the message's
/// copy and is dropped with it. The adapters in [`channel`](crate::channel) wrap each message
/// that is sent; in any other channel, queue or map, the wrapped value is one like any other.
///
/// A message that is dropped, unread in a closed channel for example, is dropped inside its
/// context, and the context after it.
///
/// It is two words larger than the value. `Debug` shows the value and what `Debug` of a [`Context`]
/// does: the variables' names, and the values of those declared `#[debug]`.
///
/// The context is the message's own: the sender does not see what handling it sets. Where it
/// should, send a [`SharedContext`](crate::SharedContext) as part of the message, and handle it [in
/// that](ContextExt::in_context).
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use std::thread;
/// use aiocontextvars::{Carried, context_var};
///
/// context_var! { static REQUEST_ID: u64; }
///
/// let (sender, receiver) = mpsc::channel::<Carried<&str>>();
/// let actor = thread::spawn(move || {
///     let handle = |name| format!("request {:?} says {name}", REQUEST_ID.get());
///     receiver.into_iter().map(|message| message.run(handle)).collect::<Vec<_>>()
/// });
///
/// REQUEST_ID.set(7);
/// sender.send(Carried::new("hello")).unwrap();
/// REQUEST_ID.set(8);
/// sender.send(Carried::new("goodbye")).unwrap();
/// drop(sender);
/// assert_eq!(actor.join().unwrap(), ["request Some(7) says hello", "request Some(8) says goodbye"]);
/// ```
pub struct Carried<T>(WithContext<T>);

impl<T> Carried<T> {
    /// `value` in a copy of the current context, taken now. Variables declared `local` are left
    /// out.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, context_var};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// LEVEL.set(1);
    /// let message = Carried::new("hello");
    /// LEVEL.set(2);
    /// assert_eq!(message.run(|text| (text, LEVEL.get())), ("hello", Some(1)));
    /// ```
    pub fn new(value: T) -> Carried<T> {
        Carried::new_in(current::inherit(), value)
    }

    /// `value` in `context`, which is taken as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, Context, context_var};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// let message = Carried::new_in(Context::new().with_value(&LEVEL, 3), "hello");
    /// assert_eq!(message.run(|_| LEVEL.get()), Some(3));
    /// ```
    pub fn new_in(context: Context, value: T) -> Carried<T> {
        Carried(value.in_context(context))
    }

    /// Calls `f` with the value, in the context, which is dropped afterwards.
    ///
    /// If `f` panics, the value is dropped inside the context, and the caller's is current again. A
    /// future that `f` returns is polled outside of the context; for that there is
    /// [`scope`](Self::scope).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, context_var};
    ///
    /// context_var! { static LEVEL: u8 = 0; }
    ///
    /// LEVEL.set(1);
    /// let message = Carried::new(4);
    /// let sum = message.run(|n| {
    ///     LEVEL.set(LEVEL.get() + n);
    ///     LEVEL.get()
    /// });
    /// assert_eq!((sum, LEVEL.get()), (5, 1));
    /// ```
    pub fn run<R>(self, f: impl FnOnce(T) -> R) -> R {
        self.0.run(None, f)
    }

    /// Calls `f` with the value, in the context, and returns the future that `f` makes: it is
    /// polled and dropped in the same context.
    ///
    /// `f` is called now. Nothing of the future runs before it is awaited, or spawned on any
    /// executor.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, context_var, shim};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// LEVEL.set(1);
    /// let message = Carried::new("hello");
    /// LEVEL.set(2);
    /// let seen = shim::block_on(message.scope(async |text| {
    ///     shim::yield_now().await;
    ///     (text, LEVEL.get())
    /// }));
    /// assert_eq!(seen, ("hello", Some(1)));
    /// ```
    pub fn scope<F>(self, f: impl FnOnce(T) -> F) -> WithContext<F> {
        self.map(f).0
    }

    /// Calls `f` with the value, in the context, and carries on with what it returns: for a message
    /// that is passed on in another form.
    ///
    /// What `f` sets is seen where the result is handled.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Carried, context_var};
    ///
    /// context_var! { static HOPS: u8 = 0; }
    ///
    /// let message = Carried::new("7").map(|text| {
    ///     HOPS.set(HOPS.get() + 1);
    ///     text.parse::<u64>()
    /// });
    /// assert_eq!(message.run(|number| (number, HOPS.get())), (Ok(7), 1));
    /// assert_eq!(HOPS.get(), 0);
    /// ```
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Carried<U> {
        Carried(self.0.map_inner(None, f))
    }

    /// The value.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::Carried;
    /// assert_eq!(Carried::new(7).get_ref(), &7);
    /// ```
    pub fn get_ref(&self) -> &T {
        self.0.inner()
    }

    /// The value, to be changed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::Carried;
    /// let mut message = Carried::new(7);
    /// *message.get_mut() += 1;
    /// assert_eq!(message.get_ref(), &8);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.0.inner_mut()
    }

    /// The context.
    ///
    /// # Examples
    ///
    /// The message goes on to another process, and its values go in the headers.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use aiocontextvars::{Carried, context_var, propagation::Propagator};
    ///
    /// context_var! { static TENANT: &'static str; }
    ///
    /// TENANT.set("acme");
    /// let message = Carried::new(7);
    /// assert_eq!(message.context().get(&TENANT), Some(&"acme"));
    ///
    /// let mut headers = HashMap::new();
    /// let inside = Propagator::new().send("tenant", &TENANT);
    /// inside.inject(message.context(), &mut headers);
    /// assert_eq!(headers["baggage"], "tenant=acme");
    /// ```
    pub fn context(&self) -> &Context {
        self.0.context()
    }

    /// The value alone. The context is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::Carried;
    /// assert_eq!(Carried::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.run(|value| value)
    }

    /// The value and the context.
    ///
    /// From here on both are the caller's: the value is dropped where the caller drops it.
    ///
    /// # Examples
    ///
    /// A task of its own for a message, in the message's context:
    ///
    /// ```
    /// use aiocontextvars::{Carried, context_var, shim};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// LEVEL.set(1);
    /// let message = Carried::new("hello");
    /// LEVEL.set(2);
    /// let seen = shim::block_on(async {
    ///     let (text, context) = message.into_parts();
    ///     shim::spawn_in(context, async move { (text, LEVEL.get()) }).await.unwrap()
    /// });
    /// assert_eq!(seen, ("hello", Some(1)));
    /// ```
    pub fn into_parts(self) -> (T, Context) {
        self.0.into_parts()
    }
}

impl<T: Clone> Clone for Carried<T> {
    /// The value is cloned where this is called. Each clone has its own copy of the context.
    fn clone(&self) -> Carried<T> {
        Carried::new_in(self.context().clone(), self.get_ref().clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Carried<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried")
            .field("value", self.get_ref())
            .field("context", self.context())
            .finish()
    }
}
