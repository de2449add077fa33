//! [`task_local!`](crate::task_local): tokio's task-locals as context variables.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use pin_project_lite::pin_project;

use crate::current;
use crate::scope::Scope;
use crate::var::ContextVar;

/// Declares task-locals, in place of `tokio::task_local!`: statics of type [`LocalKey`].
///
/// They read and are scoped as tokio's, on any runtime, and are inherited by what is spawned
/// through the [`shim`](crate::shim). To move a program over, change the `use` line. There are
/// these differences:
///
/// - Values are `Send` and `Sync`, because a task that is spawned inside of a scope shares its
///   value: an atomic or a `Mutex` takes the place of a `Cell` or a `RefCell`, which does not
///   compile.
/// - [`TaskLocalFuture::take_value`] gives a value only when no spawned task has it any more.
/// - Inside of [`with`](LocalKey::with), scopes of the same key can be entered, where tokio's
///   panic.
/// - The future of a [`scope`](LocalKey::scope) keeps the values that other keys have at its first
///   poll. With tokio's they are those of whoever polls it, at each poll.
/// - The `Debug` output of such a future shows the key's name and not the value.
///
/// Attributes and visibility are kept, and the last semicolon is optional. A variable that can also
/// be set, and has a default, is a [`context_var!`](crate::context_var).
///
/// # Examples
///
/// ```
/// use aiocontextvars::{shim, task_local};
///
/// task_local! {
///     /// Id of the request being served.
///     pub static REQUEST_ID: u64;
///     static TENANT: &'static str;
/// }
///
/// let seen = shim::block_on(REQUEST_ID.scope(7, TENANT.scope("acme", async {
///     // tokio's have no value here.
///     shim::spawn(async { (REQUEST_ID.get(), TENANT.get()) }).await
/// })));
/// assert_eq!(seen.unwrap(), (7, "acme"));
/// ```
#[macro_export]
macro_rules! task_local {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis static $name:ident : $type:ty
    );* $(;)?) => {$(
        $(#[$attribute])*
        $visibility static $name: $crate::LocalKey<$type> =
            $crate::LocalKey::new($crate::__name_of(::core::stringify!($name)));
    )*};
}

/// What the value of a [`LocalKey`] has to be: `Send + Sync + 'static`, and every such type is.
///
/// # Examples
///
/// ```
/// use std::sync::Mutex;
/// use aiocontextvars::{shim, task_local};
///
/// task_local! { static SEEN: Mutex<Vec<u8>>; }
///
/// shim::block_on(SEEN.scope(Mutex::default(), async {
///     shim::spawn(async { SEEN.with(|seen| seen.lock().unwrap().push(1)) }).await.unwrap();
///     assert_eq!(SEEN.with(|seen| seen.lock().unwrap().len()), 1);
/// }));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the value of a task-local: it is not `Send + Sync + 'static`",
    label = "tasks that are spawned inside of a scope share its value",
    note = "an atomic takes the place of a `Cell`, a `Mutex` or `RwLock` that of a `RefCell`, and an `Arc` that of an `Rc`"
)]
pub trait TaskLocalValue: Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Send + Sync + 'static> TaskLocalValue for T {}

/// A task-local, declared by [`task_local!`](crate::task_local): a value for the extent of a future
/// or a call, which what is spawned there inherits.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{shim, task_local};
///
/// task_local! { static NUMBER: u32; }
///
/// shim::block_on(NUMBER.scope(1, async {
///     assert_eq!(NUMBER.get(), 1);
///     NUMBER.scope(2, async { assert_eq!(NUMBER.get(), 2) }).await;
///     assert_eq!(NUMBER.get(), 1);
/// }));
/// assert!(NUMBER.try_get().is_err());
/// ```
pub struct LocalKey<T: TaskLocalValue> {
    var: ContextVar<T>,
}

impl<T: TaskLocalValue> LocalKey<T> {
    /// What [`task_local!`](crate::task_local) makes of a declaration. The name is for messages.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::LocalKey;
    ///
    /// static NUMBER: LocalKey<u32> = LocalKey::new("NUMBER");
    /// assert!(NUMBER.try_get().is_err());
    /// ```
    pub const fn new(name: &'static str) -> LocalKey<T> {
        LocalKey {
            var: ContextVar::new(name),
        }
    }

    /// Polls and drops `future` in a copy of the context that is current at its first poll, in
    /// which this key has `value`.
    ///
    /// As with [`ContextVar::scope`], scopes compose, and in a task that something else spawns the
    /// scope brings this value alone.
    ///
    /// # Cancel safety
    ///
    /// The scope is as cancel safe as `future`: dropping it drops `future` inside the copy.
    ///
    /// # Examples
    ///
    /// See [`LocalKey`].
    pub fn scope<F: Future>(&'static self, value: T, future: F) -> TaskLocalFuture<T, F> {
        TaskLocalFuture {
            key: self,
            scope: self.var.scope(value, Some(future)),
        }
    }

    /// Calls `f` in a copy of the current context in which this key has `value`.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::task_local;
    ///
    /// task_local! { static NUMBER: u32; }
    ///
    /// assert_eq!(NUMBER.sync_scope(1, || NUMBER.get()), 1);
    /// ```
    pub fn sync_scope<F, R>(&'static self, value: T, f: F) -> R
    where
        F: FnOnce() -> R,
    {
        self.var.sync_scope(value, f)
    }

    /// Calls `f` with a reference to the value.
    ///
    /// # Panics
    ///
    /// Outside of a scope of this key, and what is spawned inside of one. For a form that does not
    /// panic, see [`try_with`](Self::try_with).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::task_local;
    ///
    /// task_local! { static NAME: String; }
    ///
    /// assert_eq!(NAME.sync_scope("a".to_owned(), || NAME.with(String::len)), 1);
    /// ```
    #[track_caller]
    pub fn with<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        match self.try_with(f) {
            Ok(result) => result,
            Err(error) => error.panic(),
        }
    }

    /// As [`with`](Self::with).
    ///
    /// # Errors
    ///
    /// An [`AccessError`] that names the key, if it has no value here. Then `f` was not called.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::task_local;
    ///
    /// task_local! { static NUMBER: u32; }
    ///
    /// let error = NUMBER.try_with(|_| ()).unwrap_err();
    /// assert!(error.to_string().contains("`NUMBER`"));
    /// ```
    pub fn try_with<F, R>(&'static self, f: F) -> Result<R, AccessError>
    where
        F: FnOnce(&T) -> R,
    {
        current::read(&self.var, |value| match value {
            Some(value) => Ok(f(value)),
            None => Err(self.no_value()),
        })
    }

    #[cold]
    fn no_value(&'static self) -> AccessError {
        AccessError {
            key: self.var.name(),
        }
    }

    /// A clone of the value.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with). For a form that does not panic, see [`try_get`](Self::try_get).
    ///
    /// # Examples
    ///
    /// See [`LocalKey`].
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Clone,
    {
        match self.var.get() {
            Some(value) => value,
            None => self.no_value().panic(),
        }
    }

    /// A clone of the value.
    ///
    /// # Errors
    ///
    /// As [`try_with`](Self::try_with).
    ///
    /// # Examples
    ///
    /// See [`LocalKey`].
    pub fn try_get(&'static self) -> Result<T, AccessError>
    where
        T: Clone,
    {
        self.var.get().ok_or_else(|| self.no_value())
    }
}

impl<T: TaskLocalValue> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("LocalKey { .. }")
    }
}

pin_project! {
    /// A future inside of a scope of a task-local; made by [`LocalKey::scope`].
    ///
    /// # Examples
    ///
    /// See [`take_value`](Self::take_value).
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct TaskLocalFuture<T, F>
    where
        T: TaskLocalValue,
    {
        key: &'static LocalKey<T>,
        // `None` once it has completed. It is dropped then, before anybody takes the value out.
        #[pin]
        scope: Scope<Option<F>>,
    }
}

impl<T: TaskLocalValue, F> TaskLocalFuture<T, F> {
    /// Takes the value out of the scope. If the future has not completed, it goes on without.
    ///
    /// `None` if it has been taken before, and as long as it is shared: with a task that was
    /// spawned inside of the scope and has not ended, or with a copy of the context. Then it stays
    /// where it is, and can be taken later.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{shim, task_local};
    ///
    /// task_local! { static NUMBER: u32; }
    ///
    /// let mut future = Box::pin(NUMBER.scope(42, async {}));
    /// shim::block_on(future.as_mut());
    /// assert_eq!(future.as_mut().take_value(), Some(42));
    /// assert_eq!(future.as_mut().take_value(), None);
    /// ```
    pub fn take_value(self: Pin<&mut Self>) -> Option<T> {
        let var = self.key.var.key();
        self.project().scope.place_pin_mut().take_value(var)
    }
}

impl<T: TaskLocalValue, F: Future> Future for TaskLocalFuture<T, F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        self.project().scope.poll_in(
            cx,
            #[inline]
            |mut future, cx| {
                let polled = match future.as_mut().as_pin_mut() {
                    Some(running) => running.poll(cx),
                    None => polled_after_completion(),
                };
                if polled.is_ready() {
                    future.set(None);
                }
                polled
            },
        )
    }
}

#[cold]
fn polled_after_completion() -> ! {
    panic!("`TaskLocalFuture` was polled after it had completed")
}

impl<T: TaskLocalValue, F> fmt::Debug for TaskLocalFuture<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskLocalFuture")
            .field("key", &self.key.var.name())
            .finish_non_exhaustive()
    }
}

/// A task-local has no value where it was read: outside of its scopes, and of what is spawned
/// inside of one.
///
/// # Examples
///
/// See [`LocalKey::try_with`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AccessError {
    key: &'static str,
}

impl AccessError {
    #[cold]
    #[track_caller]
    fn panic(self) -> ! {
        panic!("{self}")
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key;
        write!(
            f,
            "task-local `{key}` has no value here: read it inside of `{key}.scope(value, future)`, or in what is spawned \
             there through `aiocontextvars::shim`; a task that is spawned by other means has it if its future is \
             wrapped with `.in_current_context()`"
        )
    }
}

impl Error for AccessError {}
