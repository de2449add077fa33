//! [`ContextVar`]: a variable whose value belongs to the current context.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::id::{self, VarKey};
use crate::name::Name;
use crate::reentrancy::{self, Activity};
use crate::sync::AtomicU64;
use crate::value::{DebugValue, Stored, Value};

/// A variable whose value belongs to the current [`Context`](crate::Context): PEP 567's
/// `ContextVar`.
///
/// Declare variables as statics, with [`context_var!`](crate::context_var) or by hand. Two
/// variables are the same only if they are the same object; the name is for messages.
/// Reading never blocks.
///
/// The type says whether there is a default. A `ContextVar<T>` has none, and its [`get`](Self::get)
/// returns an `Option<T>`. A variable with a default is a `ContextVar<T, WithDefault>`, and its
/// `get` returns a `T`.
///
/// Values are shared by reference between a context and its copies: setting a variable in one does
/// not show in the other, while interior mutability of a value shows in both.
///
/// # Code of values
///
/// User code (`Clone`, `Drop`, `Debug`, defaults, `with` closures) runs while no lock or borrow is
/// held, and may call anything in this crate, also on this very variable.
///
/// A value is dropped when the last context, token or reader releases it. A replaced value is
/// dropped after the write: its destructor sees the new value, and what the destructor sets stays.
/// The destructor runs in the context of the code that released the value. If a wrapped future,
/// task, callback, job or bound function ends and its context is dropped with it, the destructor
/// runs in an empty context, where it may read, write and enter contexts. So it does if it is more
/// than 16 levels deep in contexts that keep each other and are dropped at once.
///
/// A destructor's panic propagates to the code that dropped the value. The operation is complete by
/// then, and other values are dropped as well. In a task the panic is the task's; in a callback it
/// is reported. Where it cannot propagate (a thread ends, or a panic drops a guard or a future), it
/// stops at the panic hook. As with any collection, two values that are dropped together and both
/// panic end the process.
///
/// # In allocators and signal handlers
///
/// An allocator may read variables, and may write them, at any time. If it is called while its
/// thread changes the current context, a read gives the default or no value, and a write is dropped
/// or is an error of the `try_` forms ([`Busy`](crate::SetErrorKind::Busy)). While a default is
/// computed for the first time, an allocator or a signal handler that comes in between finds no
/// value by [`with`](ContextVar::with), and [`get`](ContextVar::get) computes the default again.
///
/// A signal handler may read variables whose values are `Copy`, by `get` or `with`: inside of a
/// context that was entered, and at a thread's root if the thread has read a variable before. It
/// finds the value of the context that is current, or of the one that is just being entered or
/// left, or none. It must not write, because that allocates. Both hold on targets with 64-bit
/// words.
///
/// # Examples
///
/// ```
/// use aiocontextvars::ContextVar;
///
/// static REQUEST_ID: ContextVar<u64> = ContextVar::new("REQUEST_ID");
///
/// assert_eq!(REQUEST_ID.get(), None);
/// let token = REQUEST_ID.set(7);
/// assert_eq!(REQUEST_ID.get(), Some(7));
/// REQUEST_ID.reset(token).unwrap();
/// assert_eq!(REQUEST_ID.get(), None);
/// ```
pub struct ContextVar<T: 'static, D = NoDefault> {
    name: Name,
    /// The number of the variable's [`VarKey`]; 0 until it is first used.
    key: AtomicU64,
    default: Option<fn() -> T>,
    /// The first result of `default` that was stored.
    first_default: OnceLock<T>,
    /// The thread that has stored it, or is about to. 0 if there is none.
    publisher: AtomicUsize,
    debug: Option<DebugValue<T>>,
    local: bool,
    _default: PhantomData<fn() -> D>,
}

/// In [`ContextVar<T>`](ContextVar): the variable has no default, so that [`get`](ContextVar::get)
/// returns an `Option<T>`.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{ContextVar, NoDefault};
///
/// static USER: ContextVar<u64, NoDefault> = ContextVar::new("USER");
///
/// assert_eq!(USER.get(), None);
/// ```
#[derive(Debug)]
pub enum NoDefault {}

/// In `ContextVar<T, WithDefault>`: the variable has a default, so that [`get`](ContextVar::get)
/// returns a `T`.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{ContextVar, WithDefault};
///
/// static LEVEL: ContextVar<u8, WithDefault> = ContextVar::with_default("LEVEL", || 7);
///
/// assert_eq!(LEVEL.get(), 7);
/// ```
#[derive(Debug)]
pub enum WithDefault {}

/// Whether a variable has a default: [`NoDefault`] or [`WithDefault`].
///
/// This trait is sealed. A function that takes variables of both kinds needs it only for
/// [`get`](ContextVar::get).
///
/// # Examples
///
/// ```
/// use aiocontextvars::{ContextVar, context_var};
///
/// context_var! {
///     static USER: String;
///     static LOCALE: String = "en".to_owned();
/// }
///
/// fn show<D>(var: &ContextVar<String, D>) -> String {
///     var.with(|value| format!("{}: {value:?}", var.name()))
/// }
///
/// assert_eq!(show(&USER), "USER: None");
/// assert_eq!(show(&LOCALE), "LOCALE: Some(\"en\")");
/// ```
pub trait DefaultKind: sealed::Read {}

impl DefaultKind for NoDefault {}
impl DefaultKind for WithDefault {}

/// Calls the function of a default in a context that is no reader's: the result is everybody's.
pub(crate) type Compute<T> = fn(fn() -> T) -> T;

mod sealed {
    use super::*;

    pub trait Read: Sized {
        /// What reading a variable gives.
        type Output<T>;

        /// The value that was found in the current context, or else the default.
        #[allow(
            private_interfaces,
            reason = "the trait cannot be named outside of the crate"
        )]
        fn read<T: Clone>(
            found: Option<T>,
            var: &ContextVar<T, Self>,
            compute: Compute<T>,
        ) -> Self::Output<T>;
    }

    #[inline]
    #[track_caller]
    fn default<T: Clone>(var: &ContextVar<T, WithDefault>, compute: Compute<T>) -> T {
        // Once more: an allocator or a signal handler may have come while the default is computed,
        // and they cannot go on without a value. Within that it is a default that reads itself.
        match var.default_within(1, compute) {
            DefaultValue::First(default) => default.clone(),
            DefaultValue::Own(default) => default,
            DefaultValue::None => panic!(
                "the default of context variable `{}` reads the variable by `get`; there, use `with`, which \
                 finds no value, or `get_or`",
                var.name()
            ),
        }
    }

    impl Read for NoDefault {
        type Output<T> = Option<T>;

        #[inline]
        fn read<T: Clone>(found: Option<T>, _: &ContextVar<T>, _: Compute<T>) -> Option<T> {
            found
        }
    }

    impl Read for WithDefault {
        type Output<T> = T;

        #[inline]
        #[track_caller]
        fn read<T: Clone>(
            found: Option<T>,
            var: &ContextVar<T, WithDefault>,
            compute: Compute<T>,
        ) -> T {
            match found {
                Some(value) => value,
                None => default(var, compute),
            }
        }
    }
}

impl<T> ContextVar<T> {
    /// A variable without a default.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::ContextVar;
    ///
    /// static TRACE: ContextVar<bool> = ContextVar::new("TRACE");
    /// assert_eq!(TRACE.get(), None);
    /// ```
    pub const fn new(name: &'static str) -> ContextVar<T> {
        ContextVar::build(Name::fixed(name), None)
    }

    /// A variable whose value is `default()` in contexts that do not bind it.
    ///
    /// The default is computed on first use, without a lock: threads that race may compute it
    /// twice, and the first stored result is the only one that is ever seen. In a default, its own
    /// variable has no value for [`with`](Self::with), and [`get`](Self::get) computes the default
    /// once more and panics within that, so that a default which needs itself panics. A default is
    /// not a binding: it is never part of a [`Context`](crate::Context).
    ///
    /// The result is everybody's, so it is computed in an empty context: other variables have no
    /// value there but their defaults, whoever reads first, and what is set there is gone
    /// afterwards. A span, or what else is current beside the context, stays as the reader has it,
    /// and is not captured by what the default spawns. If it panics, so does the read, and the next
    /// one computes it again.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{ContextVar, WithDefault};
    ///
    /// static LOCALE: ContextVar<String, WithDefault> =
    ///     ContextVar::with_default("LOCALE", || "en".to_owned());
    /// assert_eq!(LOCALE.get(), "en");
    /// ```
    pub const fn with_default(
        name: &'static str,
        default: fn() -> T,
    ) -> ContextVar<T, WithDefault> {
        ContextVar::build(Name::fixed(name), Some(default))
    }

    /// A variable whose name is only known at run time.
    ///
    /// Prefer statics: a variable that is dropped leaves its values in the contexts that bind it,
    /// until those are dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::ContextVar;
    ///
    /// let var: ContextVar<u8> = ContextVar::named(format!("column-{}", 3));
    /// assert_eq!(var.name(), "column-3");
    /// ```
    pub fn named(name: impl Into<Cow<'static, str>>) -> ContextVar<T> {
        ContextVar::build(
            match name.into() {
                Cow::Borrowed(name) => Name::fixed(name),
                Cow::Owned(name) => Name::made(name),
            },
            None,
        )
    }
}

impl<T, D> ContextVar<T, D> {
    const fn build(name: Name, default: Option<fn() -> T>) -> ContextVar<T, D> {
        ContextVar {
            name,
            key: AtomicU64::new(0),
            default,
            first_default: OnceLock::new(),
            publisher: AtomicUsize::new(0),
            debug: None,
            local: false,
            _default: PhantomData,
        }
    }

    /// Lets `Debug` output show this variable's values, which are redacted otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, ContextVar};
    ///
    /// static SHOWN: ContextVar<u8> = ContextVar::new("SHOWN").debug();
    /// static SECRET: ContextVar<u8> = ContextVar::new("SECRET");
    ///
    /// let context = Context::new().with_value(&SHOWN, 1).with_value(&SECRET, 2);
    /// assert_eq!(format!("{context:?}"), "Context {SECRET: <redacted>, SHOWN: 1}");
    /// ```
    #[must_use = "`debug` returns the variable"]
    pub const fn debug(mut self) -> ContextVar<T, D>
    where
        T: fmt::Debug,
    {
        self.debug = Some(<T as fmt::Debug>::fmt);
        self
    }

    /// Keeps this variable out of new units of work: tasks, callbacks, jobs and threads that
    /// inherit the current context start without it.
    ///
    /// If the variable was used before, this is another variable: it has no value, and what the one
    /// before was set to stays where it is.
    ///
    /// An explicit context, `run`, [`scope`](Self::scope) and
    /// [`ContextAwareExecutor::fixed`](crate::shim::ContextAwareExecutor::fixed) are taken as they
    /// are.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{ContextVar, shim};
    ///
    /// static CONNECTION: ContextVar<u8> = ContextVar::new("CONNECTION").local();
    ///
    /// CONNECTION.set(1);
    /// assert_eq!(shim::bind(|| CONNECTION.get())(), None);
    /// ```
    #[must_use = "`local` returns the variable"]
    pub const fn local(mut self) -> ContextVar<T, D> {
        self.local = true;
        // The key says whether the variable is local. What was bound under the old one stays with
        // it.
        self.key = AtomicU64::new(0);
        self
    }

    /// The name given to the constructor.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::ContextVar;
    ///
    /// static LOCALE: ContextVar<u8> = ContextVar::new("LOCALE");
    /// assert_eq!(LOCALE.name(), "LOCALE");
    /// ```
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn as_name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn shared_name(&self) -> Name {
        self.name.clone()
    }

    /// What contexts know this variable by. Assigned on first use, because `new` is `const`.
    #[inline]
    pub(crate) fn key(&self) -> VarKey {
        match self.known_key() {
            VarKey::NONE => self.assign_key(),
            key => key,
        }
    }

    /// The same, but [`VarKey::NONE`] if none is assigned yet.
    #[inline]
    pub(crate) fn known_key(&self) -> VarKey {
        VarKey::from_number(self.key.load(Ordering::Relaxed))
    }

    #[cold]
    fn assign_key(&self) -> VarKey {
        let fresh = VarKey::new(id::next_var(), self.local);
        // The key publishes nothing but itself, so relaxed is enough.
        let assigned =
            self.key
                .compare_exchange(0, fresh.number(), Ordering::Relaxed, Ordering::Relaxed);
        assigned.map_or_else(VarKey::from_number, |_| fresh)
    }

    /// The default, computed now if it never was.
    #[inline]
    pub(crate) fn default(&self, compute: Compute<T>) -> DefaultValue<'_, T> {
        self.default_within(0, compute)
    }

    /// The same if the default may be computed again while this thread computes it, so many times.
    #[inline]
    fn default_within(&self, times: usize, compute: Compute<T>) -> DefaultValue<'_, T> {
        match self.first_default.get() {
            Some(first) => DefaultValue::First(first),
            None if self.default.is_none() => DefaultValue::None,
            None => self.compute_default(times, compute),
        }
    }

    #[cold]
    fn compute_default(&self, times: usize, compute: Compute<T>) -> DefaultValue<'_, T> {
        let activity = Activity::Default(self.key().number());
        let computed = self
            .default
            .and_then(|default| reentrancy::begin_again(activity, times, || compute(default)));
        let Some(value) = computed else {
            return DefaultValue::None;
        };
        // Who is first stores it, and nobody waits for a lock: this may be a signal handler.
        let this_thread = id::thread();
        match self
            .publisher
            .compare_exchange(0, this_thread, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => drop(self.first_default.set(value)),
            // Interrupted in between, by a handler on this very thread.
            Err(publisher) if publisher == this_thread => {
                if self.first_default.get().is_none() {
                    return DefaultValue::Own(value);
                }
            }
            // That thread has nothing to do but to store it.
            Err(_) => {
                while self.first_default.get().is_none() {
                    thread::yield_now();
                }
            }
        }
        self.first_default
            .get()
            .map_or(DefaultValue::None, DefaultValue::First)
    }

    /// `value` as it is kept in a context.
    #[inline]
    pub(crate) fn store(&self, value: T) -> Value
    where
        T: Send + Sync + 'static,
    {
        let stored = Stored {
            name: self.shared_name(),
            debug: self.debug,
            value: Some(value),
        };
        stored.into_value()
    }
}

/// What reading a variable's default gives.
pub(crate) enum DefaultValue<'a, T> {
    /// There is none, or this thread is computing it.
    None,
    /// The first result that was stored, the only one that is ever seen but for the next case.
    First(&'a T),
    /// One that was computed while this very thread was about to store the first.
    Own(T),
}

impl<T> DefaultValue<'_, T> {
    #[inline]
    pub(crate) fn as_ref(&self) -> Option<&T> {
        match self {
            DefaultValue::None => None,
            DefaultValue::First(value) => Some(value),
            DefaultValue::Own(value) => Some(value),
        }
    }
}

impl<T, D> fmt::Debug for ContextVar<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ContextVar");
        out.field("name", &self.name());
        out.field("id", &self.key().id());
        match (self.debug, self.first_default.get()) {
            (Some(debug), Some(default)) => out.field(
                "default",
                &Shown {
                    var: self.key().number(),
                    debug,
                    value: default,
                },
            ),
            _ => out.field("has_default", &self.default.is_some()),
        };
        out.finish_non_exhaustive()
    }
}

/// A default that the variable allows to be shown.
struct Shown<'a, T> {
    var: u64,
    debug: DebugValue<T>,
    value: &'a T,
}

impl<T> fmt::Debug for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        reentrancy::show(Activity::ShowDefault(self.var), f, |f| {
            (self.debug)(self.value, f)
        })
    }
}
