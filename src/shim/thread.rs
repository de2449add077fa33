//! Threads that inherit: `std::thread`'s `spawn`, `Builder` and `scope`.
//!
//! A thread of `std::thread` starts with an empty context. The functions here start it in a
//! copy of the caller's, taken at the call; in a given context; or, with `Context::new()`, empty.
//!
//! Signatures and handles are those of `std::thread`, and each function has a twin with `_in` that
//! is given the context. The thread's own thread-locals are destroyed when the context has gone.
//! Different is that a [`Scope`] is handed over by value, so that a scoped thread which spawns
//! others moves it in. There is no `spawn_unchecked`.
//!
//! # Examples
//!
//! ```
//! use aiocontextvars::{Context, context_var, shim::thread};
//!
//! context_var! { static LEVEL: u8; }
//!
//! LEVEL.set(1);
//! assert_eq!(thread::spawn(|| LEVEL.get()).join().unwrap(), Some(1));
//! assert_eq!(thread::spawn_in(Context::new(), || LEVEL.get()).join().unwrap(), None);
//! ```

use std::fmt;
use std::io;
use std::thread::{self, JoinHandle, ScopedJoinHandle};

use crate::current;
use crate::task_context::{AnyContext, TaskContext};
use crate::with_context::ContextExt;

/// `std::thread::spawn`, in a copy of the current context, taken now.
///
/// # Panics
///
/// If the operating system cannot make the thread; see [`Builder::spawn`].
///
/// # Examples
///
/// See the [module](self).
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_in(current::inherit(), f)
}

/// `std::thread::spawn`, in `context`. A thread in a [`SharedContext`](crate::SharedContext) that
/// is entered elsewhere waits for it.
///
/// # Panics
///
/// If the operating system cannot make the thread; see [`Builder::spawn_in`].
///
/// # Examples
///
/// See the [module](self).
#[track_caller]
pub fn spawn_in<C: TaskContext, T: Send + 'static>(
    context: C,
    f: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    thread::spawn(body(context.into_any(), f))
}

/// `f`, called and dropped in `context`.
fn body<T>(context: AnyContext, f: impl FnOnce() -> T) -> impl FnOnce() -> T {
    enum Bound<O, S> {
        Own(O),
        Shared(S),
    }
    let bound = match context {
        AnyContext::Own(context) => Bound::Own(f.in_context(context)),
        AnyContext::Shared(shared) => {
            let f = f.in_context(&shared);
            Bound::Shared((shared, f))
        }
    };
    move || match bound {
        Bound::Own(f) => f.call_once(),
        Bound::Shared((shared, f)) => {
            let frame = shared.acquire_blocking();
            // The frame then owns the last reference, and drops the values in an empty context.
            drop(shared);
            frame.enter(|| (f.into_inner())())
        }
    }
}

/// `std::thread::Builder` for threads that inherit.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim::thread;
///
/// let thread = thread::Builder::new().name("worker".to_owned()).spawn(|| 1)?;
/// assert_eq!(thread.join().unwrap(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `spawn` is called"]
pub struct Builder(thread::Builder);

impl Builder {
    /// A builder for a thread without a name and with the default stack size.
    #[expect(clippy::new_without_default, reason = "as std's")]
    pub fn new() -> Builder {
        Builder(thread::Builder::new())
    }

    /// Names the thread, for panic messages and debuggers.
    ///
    /// # Panics
    ///
    /// When the thread is spawned, if the name has a null byte.
    pub fn name(self, name: String) -> Builder {
        Builder(self.0.name(name))
    }

    /// Sets the size of the thread's stack, in bytes.
    pub fn stack_size(self, size: usize) -> Builder {
        Builder(self.0.stack_size(size))
    }

    /// Starts the thread in a copy of the current context, taken now.
    ///
    /// # Errors
    ///
    /// If the operating system cannot make the thread; `f` is dropped then, in its context.
    ///
    /// # Panics
    ///
    /// If the thread's [name](Self::name) has a null byte.
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_in(current::inherit(), f)
    }

    /// Starts the thread in `context`.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    pub fn spawn_in<C: TaskContext, T: Send + 'static>(
        self,
        context: C,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        self.0.spawn(body(context.into_any(), f))
    }

    /// Starts a scoped thread in a copy of the current context, taken now.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_scoped_in(scope, current::inherit(), f)
    }

    /// Starts a scoped thread in `context`.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    pub fn spawn_scoped_in<'scope, C: TaskContext, T: Send + 'scope>(
        self,
        scope: Scope<'scope, '_>,
        context: C,
        f: impl FnOnce() -> T + Send + 'scope,
    ) -> io::Result<ScopedJoinHandle<'scope, T>> {
        self.0.spawn_scoped(scope.0, body(context.into_any(), f))
    }
}

/// `std::thread::scope` for threads that inherit. The scope is handed over by value.
///
/// # Panics
///
/// If a scoped thread that was not joined has panicked.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim::thread};
///
/// context_var! { static LEVEL: u8; }
///
/// LEVEL.set(1);
/// let mut levels = [None; 2];
/// thread::scope(|scope| {
///     for level in &mut levels {
///         // Moved in, the scope serves the thread as well.
///         scope.spawn(move || scope.spawn(|| *level = LEVEL.get()));
///     }
/// });
/// assert_eq!(levels, [Some(1); 2]);
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(Scope<'scope, 'env>) -> T,
{
    thread::scope(|scope| f(Scope(scope)))
}

/// Spawns the threads of a [`scope`].
///
/// # Examples
///
/// See [`scope`].
#[derive(Clone, Copy)]
pub struct Scope<'scope, 'env>(&'scope thread::Scope<'scope, 'env>);

impl<'scope> Scope<'scope, '_> {
    /// Spawns a thread in a copy of the current context, taken now.
    ///
    /// # Panics
    ///
    /// If the operating system cannot make the thread; see [`Builder::spawn_scoped`].
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_in(current::inherit(), f)
    }

    /// Spawns a thread in `context`.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_in<C: TaskContext, T: Send + 'scope>(
        &self,
        context: C,
        f: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, T> {
        self.0.spawn(body(context.into_any(), f))
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
