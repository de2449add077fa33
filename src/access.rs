//! What is done with a [`ContextVar`] in the current context.

use crate::context::Context;
use crate::current::{self, Entering};
use crate::error::{ApplyError, LookupError, SetError, SetErrorKind};
use crate::scope::{Scope, ScopeContext};
use crate::scoped::Scoped;
use crate::token::{Replaced, ResetError, ResetErrorKind, Token};
use crate::var::{ContextVar, DefaultKind};
use crate::with_context::ContextExt;

impl<T: Send + Sync + 'static, D: DefaultKind> ContextVar<T, D> {
    /// The value in the current context, or else the default. For a variable that has a default
    /// this is a `T`, for others an `Option<T>`.
    ///
    /// # Panics
    ///
    /// In the variable's own default. There, [`with`](Self::with) finds no value.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! {
    ///     static USER: u64;
    ///     static LEVEL: u8 = 1;
    /// }
    ///
    /// assert_eq!((USER.get(), LEVEL.get()), (None, 1));
    /// USER.set(7);
    /// LEVEL.set(2);
    /// assert_eq!((USER.get(), LEVEL.get()), (Some(7), 2));
    /// ```
    #[track_caller]
    pub fn get(&self) -> D::Output<T>
    where
        T: Clone,
    {
        let found = current::read(self, |value| value.cloned());
        D::read(found, self, current::enter_for_all)
    }
}

impl<T: Send + Sync + 'static> ContextVar<T> {
    /// The value in the current context.
    ///
    /// # Errors
    ///
    /// A [`LookupError`] that names the variable, if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// let error = LEVEL.try_get().unwrap_err();
    /// assert_eq!(error.var_name(), "LEVEL");
    /// ```
    pub fn try_get(&self) -> Result<T, LookupError>
    where
        T: Clone,
    {
        self.get()
            .ok_or_else(|| LookupError::new(self.shared_name()))
    }
}

impl<T: Send + Sync + 'static, D> ContextVar<T, D> {
    /// The value in the current context, else `fallback`: the variable's own default comes last, as
    /// with an argument to Python's `get`.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8 = 1; }
    ///
    /// assert_eq!(LEVEL.get_or(9), 9);
    /// LEVEL.set(2);
    /// assert_eq!(LEVEL.get_or(9), 2);
    /// ```
    pub fn get_or(&self, fallback: T) -> T
    where
        T: Clone,
    {
        current::read(self, |value| value.cloned()).unwrap_or(fallback)
    }

    /// Calls `f` with a reference to the value, or to the default.
    ///
    /// `f` may call anything in this crate, and may set this variable: the reference stays valid.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static PATH: Vec<String>; }
    ///
    /// PATH.set(vec!["a".to_owned()]);
    /// let length = PATH.with(|path| {
    ///     PATH.set(Vec::new());
    ///     path.map_or(0, Vec::len)
    /// });
    /// assert_eq!(length, 1);
    /// ```
    pub fn with<R>(&self, f: impl FnOnce(Option<&T>) -> R) -> R {
        current::read(self, |value| match value {
            Some(value) => f(Some(value)),
            None => f(self.default(current::enter_for_all).as_ref()),
        })
    }

    /// Binds the variable in the current context, and returns a token that can restore what was
    /// there. The token may be ignored.
    ///
    /// The branches of one task share its context: in `join!`, `for_each_concurrent` or
    /// `FuturesUnordered`, what one branch sets the others see after their next await.
    /// [`in_own_context`](crate::in_own_context) gives each its own, and so does
    /// [`in_current_context`](crate::ContextExt::in_current_context) on each.
    ///
    /// During thread-local destruction, when the thread's own context is gone, in an allocator or
    /// signal handler that comes while the thread changes its context, and in destructors that set
    /// values whose destructors do the same, over and over, the value is dropped and the token
    /// restores nothing.
    ///
    /// # Panics
    ///
    /// In work that has no context of its own, where the value would leak into other work: in a
    /// task of tokio or async-std, or a job of rayon, that was not started through the shim. The
    /// message names the remedies. While the thread is unwinding the value is dropped instead. For
    /// a form that does not panic, see [`try_set`](Self::try_set).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// LEVEL.set(1);
    /// let token = LEVEL.set(2);
    /// assert_eq!(token.old_value(), Some(&1));
    /// ```
    #[track_caller]
    pub fn set(&self, value: T) -> Token<T> {
        match self.try_set(value) {
            Ok(token) => token,
            Err(error) => self.without_writing(error),
        }
    }

    /// As [`set`](Self::set), with an error where that panics or drops the value.
    ///
    /// # Errors
    ///
    /// A [`SetError`] that gives the value back. Its [`kind`](SetError::kind) says why.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// assert!(LEVEL.try_set(1).is_ok());
    /// ```
    #[inline]
    pub fn try_set(&self, value: T) -> Result<Token<T>, SetError<T>> {
        match current::check_write() {
            Ok(()) => {
                let value = Some(self.store(value));
                Ok(Token::new(current::replace(
                    self.shared_name(),
                    self.key(),
                    value,
                )))
            }
            Err(kind) => Err(self.refuse(kind, value)),
        }
    }

    /// Removes the binding from the current context, so that the variable has its default or no
    /// value.
    ///
    /// # Panics
    ///
    /// Where [`set`](Self::set) does; where that drops the value, this does nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// LEVEL.set(1);
    /// let token = LEVEL.unset();
    /// assert_eq!(LEVEL.get(), None);
    /// LEVEL.reset(token).unwrap();
    /// assert_eq!(LEVEL.get(), Some(1));
    /// ```
    #[track_caller]
    pub fn unset(&self) -> Token<T> {
        match self.try_unset() {
            Ok(token) => token,
            Err(error) => self.without_writing(error),
        }
    }

    /// As [`unset`](Self::unset), with an error where that panics or does nothing.
    ///
    /// # Errors
    ///
    /// A [`SetError`], as for [`try_set`](Self::try_set).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// assert!(LEVEL.try_unset().is_ok());
    /// ```
    pub fn try_unset(&self) -> Result<Token<T>, SetError<()>> {
        match current::check_write() {
            Ok(()) => {
                let replaced = current::replace(self.shared_name(), self.key(), None);
                Ok(Token::new(replaced))
            }
            Err(kind) => Err(self.refuse(kind, ())),
        }
    }

    /// Sets the variable to what `f` makes of its value, or of its default if it has none.
    ///
    /// `f` may call anything in this crate. What it sets this variable to is replaced.
    ///
    /// # Panics
    ///
    /// Where [`set`](Self::set) does, before `f` is called; where that drops the value, `f` is not
    /// called.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static PATH: Vec<&'static str>; static DEPTH: u32 = 0; }
    ///
    /// let enter = |name| {
    ///     PATH.update(|path| [path.map_or(&[][..], Vec::as_slice), &[name]].concat());
    ///     DEPTH.update(|depth| depth.unwrap() + 1);
    /// };
    /// enter("a");
    /// enter("b");
    /// assert_eq!((PATH.get().unwrap(), DEPTH.get()), (vec!["a", "b"], 2));
    /// ```
    #[track_caller]
    pub fn update(&self, f: impl FnOnce(Option<&T>) -> T) -> Token<T> {
        match self.try_update(f) {
            Ok(token) => token,
            Err(error) => self.without_writing(error),
        }
    }

    /// As [`update`](Self::update), with an error where that panics or does nothing.
    ///
    /// # Errors
    ///
    /// A [`SetError`], as for [`try_set`](Self::try_set). Then `f` was not called.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static DEPTH: u32 = 0; }
    ///
    /// assert!(DEPTH.try_update(|depth| depth.unwrap() + 1).is_ok());
    /// assert_eq!(DEPTH.get(), 1);
    /// ```
    pub fn try_update(&self, f: impl FnOnce(Option<&T>) -> T) -> Result<Token<T>, SetError<()>> {
        let refuse = |kind| self.refuse(kind, ());
        current::check_write().map_err(refuse)?;
        self.try_set(self.with(f))
            .map_err(|error| refuse(error.kind()))
    }

    /// Restores the value that the variable had before the `set` or `unset` that made `token`.
    ///
    /// Resets need not nest: each token restores its own old value. A value that was set
    /// under a [`scoped`](Self::scoped) guard that has gone since is not brought back; what was
    /// below that guard is.
    ///
    /// # Errors
    ///
    /// A [`ResetError`] that gives the token back, if it belongs to another variable, or to another
    /// context than that of the work that calls this. Nothing is changed then, and
    /// the token can still be used where it belongs. Work that has no context of its own,
    /// where [`set`](Self::set) is refused, is in another context than any token.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{ResetErrorKind, context_var, copy_context};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// let token = LEVEL.set(1);
    /// let error = copy_context().run(|| LEVEL.reset(token)).unwrap_err();
    /// assert_eq!(error.kind(), ResetErrorKind::DifferentContext);
    /// LEVEL.reset(error.into_token()).unwrap();
    /// assert_eq!(LEVEL.get(), None);
    /// ```
    pub fn reset(&self, token: Token<T>) -> Result<(), ResetError<T>> {
        let Replaced { var, context, .. } = token.replaced;
        if var != self.key() {
            return Err(ResetError::new(ResetErrorKind::DifferentVar, token));
        }
        if context == 0 || !current::is_writable(context) {
            return Err(ResetError::new(ResetErrorKind::DifferentContext, token));
        }
        let Replaced { name, old, .. } = token.replaced;
        drop(current::replace(name, var, old.into_visible(context)));
        Ok(())
    }

    /// Binds the variable until the guard is dropped.
    ///
    /// The guard may be held across `.await`, move between threads with its task, and be dropped in
    /// any order with others of the same variable: once no guard is live, no guard's value is
    /// visible. Plain `set`s made under a guard go with it. Dropped in another context, a
    /// guard changes nothing there.
    ///
    /// The branches of one task share its context, guards included: see [`set`](Self::set). Where
    /// each branch is to have its own value, use [`scope`](Self::scope).
    ///
    /// A guard takes a step to make and a step to drop, at any number of live guards. One that is
    /// dropped while later ones are live gives its value up then or, if these are many, when as
    /// many have been dropped as are live.
    ///
    /// # Panics
    ///
    /// Where [`set`](Self::set) does; where that drops the value, so does this.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static PRECISION: u8 = 28; }
    ///
    /// {
    ///     let _guard = PRECISION.scoped(6);
    ///     assert_eq!(PRECISION.get(), 6);
    /// }
    /// assert_eq!(PRECISION.get(), 28);
    /// ```
    #[must_use = "the value is unset when the guard is dropped; bind it to a variable: `let _guard = …`"]
    #[track_caller]
    pub fn scoped(&self, value: T) -> Scoped<'_, T> {
        match self.try_scoped(value) {
            Ok(guard) => guard,
            Err(error) => {
                error.panic_or_drop();
                Scoped::dead(self)
            }
        }
    }

    /// As [`scoped`](Self::scoped), with an error where that panics or drops the value.
    ///
    /// # Errors
    ///
    /// A [`SetError`] that gives the value back, as for [`try_set`](Self::try_set).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static PRECISION: u8 = 28; }
    ///
    /// let guard = PRECISION.try_scoped(6).unwrap();
    /// assert_eq!(PRECISION.get(), 6);
    /// drop(guard);
    /// ```
    pub fn try_scoped(&self, value: T) -> Result<Scoped<'_, T>, SetError<T>> {
        match current::check_write() {
            Ok(()) => {
                let (context, guard) = current::push(self.key(), self.store(value));
                Ok(Scoped::new(self, context, guard))
            }
            Err(kind) => Err(self.refuse(kind, value)),
        }
    }

    /// Calls `f` in a copy of the current context in which the variable is `value`: what is set
    /// inside stays inside.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8; static OTHER: u8; }
    ///
    /// LEVEL.sync_scope(5, || { OTHER.set(1); assert_eq!(LEVEL.get(), Some(5)); });
    /// assert_eq!((LEVEL.get(), OTHER.get()), (None, None));
    /// ```
    pub fn sync_scope<R>(&self, value: T, f: impl FnOnce() -> R) -> R {
        current::copy().with_value(self, value).run(f)
    }

    /// Polls and drops `inner` in a copy of the context that is current at its first poll, in which
    /// the variable is `value`: what is set inside stays inside.
    ///
    /// Scopes compose: each takes what is around it along, as nested calls of
    /// [`sync_scope`](Self::sync_scope) do.
    ///
    /// `inner` is a future, stream, sink, iterator, reader or writer. The copy is taken at the
    /// first call that gets `inner` mutably, or at its drop if there is none, and kept from then on,
    /// wherever the scope is moved to and polled. So in a task that something else spawns, the scope
    /// has its own value and what *that task* has, which is nothing. To take the whole context of
    /// here along: `VAR.scope(value, future).in_current_context()`.
    ///
    /// # Cancel safety
    ///
    /// The scope is as cancel safe as `inner`: dropping it drops `inner` inside the copy.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{context_var, shim};
    ///
    /// context_var! { static TENANT: &'static str; static LEVEL: u8; }
    ///
    /// let seen = shim::block_on(TENANT.scope("acme", LEVEL.scope(5, async { (TENANT.get(), LEVEL.get()) })));
    /// assert_eq!(seen, (Some("acme"), Some(5)));
    /// assert_eq!((TENANT.get(), LEVEL.get()), (None, None));
    /// ```
    pub fn scope<F>(&self, value: T, inner: F) -> Scope<F> {
        inner.in_context(ScopeContext::new(self.key(), self.store(value)))
    }

    #[cold]
    fn refuse<V>(&self, kind: SetErrorKind, value: V) -> SetError<V> {
        SetError::new(self.shared_name(), kind, value)
    }

    /// The token of a write that does not take place. Panics where that would be found out too
    /// late.
    #[cold]
    #[track_caller]
    fn without_writing<V>(&self, error: SetError<V>) -> Token<T> {
        error.panic_or_drop();
        Token::dead(self)
    }
}

/// A copy of the current context, PEP 567's `copy_context()`. In a task that has no context
/// of its own it is empty.
///
/// Takes the same time at any number of variables, and allocates nothing. Variables that have
/// [guards](ContextVar::scoped) are the exception: each takes a step, and if one of these guards
/// has ended where its value could not be taken out, as in another context, the bindings are
/// copied.
///
/// The copy has the variables declared `local`, too. [`inherit_context`] leaves them out, which
/// copies the bindings if there are any such variables.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, copy_context};
///
/// context_var! { static DEPTH: u32; }
///
/// DEPTH.set(1);
/// let before = copy_context();
/// DEPTH.set(2);
/// assert_eq!(before.get(&DEPTH), Some(&1));
/// ```
pub fn copy_context() -> Context {
    current::copy()
}

/// The context that a new unit of work would start in if it was spawned here: a copy of the current
/// context without the variables declared `local`.
///
/// To capture now and use later, by [`Context::call`] in a closure of any shape, or by
/// [`in_context`](crate::ContextExt::in_context).
///
/// # Examples
///
/// A listener that a library calls from a thread of its own:
///
/// ```
/// use aiocontextvars::{context_var, inherit_context};
///
/// context_var! { static REQUEST_ID: u64; }
///
/// struct Event { name: String }
///
/// REQUEST_ID.set(7);
/// let context = inherit_context();
/// let listener: Box<dyn Fn(&Event) -> String + Send> =
///     Box::new(move |event| context.call(|| format!("{} of {:?}", event.name, REQUEST_ID.get())));
///
/// let thread = std::thread::spawn(move || listener(&Event { name: "saved".to_owned() }));
/// assert_eq!(thread.join().unwrap(), "saved of Some(7)");
/// ```
pub fn inherit_context() -> Context {
    current::inherit()
}

impl Context {
    /// Calls `f` in this context and returns its result.
    ///
    /// What `f` sets stays in the context, also when it panics; the caller's context
    /// is current again afterwards. The context replaces the caller's completely: variables it does
    /// not bind are unset inside. Entering a context that is entered does not compile, and
    /// with `run` as the one way in there is no way to leave a context twice or out of order.
    ///
    /// `run` is for synchronous code. A future that `f` returns is polled later, outside the
    /// context; use [`ContextExt::in_context`] for futures. A runtime that `f` runs has
    /// tasks of its own, which read what is in this context and may not write to it: for
    /// `runtime.block_on(future)` in `f`, write `runtime.block_on(future.in_context(context))`
    /// instead. Nor may a stackful coroutine be suspended in `f`, and go on after what it was
    /// resumed from has returned: contexts are left in the reverse order of being entered.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, context_var};
    ///
    /// context_var! { static LEVEL: u8 = 0; }
    ///
    /// let mut context = Context::new();
    /// assert_eq!(context.run(|| { LEVEL.set(3); LEVEL.get() }), 3);
    /// assert_eq!(context.run(|| LEVEL.get()), 3);
    /// assert_eq!(LEVEL.get(), 0);
    /// ```
    ///
    /// ```compile_fail,E0499
    /// # use aiocontextvars::Context;
    /// let mut context = Context::new();
    /// context.run(|| context.run(|| ()));
    /// ```
    pub fn run<R>(&mut self, f: impl FnOnce() -> R) -> R {
        current::enter(self, Entering::call(), f)
    }

    /// Calls `f` in a copy of this context. What `f` sets is dropped with the copy. Calls may
    /// overlap, on any number of threads.
    ///
    /// This fits closures of any shape: capture a context by [`inherit_context`], and use `call`
    /// inside the closure. (`bind`, `bind_mut` and `bind_fn` take at most one argument.)
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{context_var, inherit_context};
    ///
    /// context_var! { static DESCENDING: bool = false; }
    ///
    /// DESCENDING.set(true);
    /// let context = inherit_context();
    /// let compare = move |a: &u8, b: &u8| {
    ///     context.call(|| if DESCENDING.get() { b.cmp(a) } else { a.cmp(b) })
    /// };
    /// let mut numbers = [2, 3, 1];
    /// numbers.sort_by(compare);
    /// assert_eq!(numbers, [3, 2, 1]);
    /// ```
    pub fn call<R>(&self, f: impl FnOnce() -> R) -> R {
        f.in_context(self.clone()).call_once()
    }

    /// Sets each variable that is bound here to its value, in the current context: brings values
    /// back from where they were set.
    ///
    /// This is one change of the current context: all values are applied or none. Variables that
    /// are not bound here stay as they are there, and those declared `local` are left out on both
    /// sides.
    ///
    /// # Panics
    ///
    /// Where [`ContextVar::set`] does; where that drops its value, nothing is applied.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{context_var, copy_context, shim};
    ///
    /// context_var! { static USER: &'static str; }
    ///
    /// async fn log_in() {
    ///     USER.set("ada");
    /// }
    ///
    /// shim::block_on(async {
    ///     let task = shim::spawn(async { (log_in().await, copy_context()) });
    ///     let ((), context) = task.await.unwrap();
    ///     assert_eq!(USER.get(), None);
    ///     context.apply();
    ///     assert_eq!(USER.get(), Some("ada"));
    /// });
    /// ```
    #[track_caller]
    pub fn apply(&self) {
        if let Err(error) = self.try_apply() {
            error.panic_or_drop();
        }
    }

    /// As [`apply`](Self::apply), with an error where that panics or does nothing.
    ///
    /// # Errors
    ///
    /// An [`ApplyError`], where [`ContextVar::try_set`] gives an error. Nothing was applied then.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, context_var};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// Context::new().with_value(&LEVEL, 3).try_apply()?;
    /// assert_eq!(LEVEL.get(), Some(3));
    /// # Ok::<(), aiocontextvars::ApplyError>(())
    /// ```
    pub fn try_apply(&self) -> Result<(), ApplyError> {
        current::check_write().map_err(ApplyError::new)?;
        current::replace_all(self);
        Ok(())
    }
}
