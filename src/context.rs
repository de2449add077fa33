//! [`Context`]: the bindings of context variables, as a value.

use std::fmt;
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe};

use triomphe::UniqueArc;

use crate::current::{self, Kind};
use crate::future::{ContextExt, WithContext};
use crate::id;
use crate::node::{self, AnyValue, Garbage, Node, NodeRef, Value};
use crate::shared::SharedContext;
use crate::slot::Slot;
use crate::var::ContextVar;

/// The bindings of context variables, as a value.
///
/// A context is two words. `clone()` is PEP 567's `Context.copy()`: it takes the same time at any size,
/// and the two are independent from then on. Where Python code relies on the *identity* of a context
/// (several callbacks that share one, a view while it is entered), use a [`SharedContext`].
///
/// Bindings are made by [`ContextVar::set`] inside [`run`](Context::run), or by
/// [`with_value`](Context::with_value). Reading through a context never gives a variable's default
/// (PEP 567; CX-04).
///
/// # Examples
///
/// ```
/// use aiocontextvars::{Context, context_var, copy_context};
///
/// context_var! { static USER: String; }
///
/// let mut context = Context::new();
/// context.run(|| {
///     USER.set("ada".to_owned());
/// });
/// assert_eq!(context.get(&USER).map(String::as_str), Some("ada"));
/// // Nothing leaked out of `run`.
/// assert_eq!(USER.get(), None);
/// ```
#[derive(Default)]
pub struct Context {
    /// `None` is the empty context.
    node: Option<NodeRef>,
    /// 0 until the first write, so that a copy accepts no token or guard of its original.
    id: u64,
}

// Bindings are immutable: a panic cannot leave one half written. (What a value does with interior
// mutability is its own affair, as it is behind an `Arc` anywhere else.)
impl UnwindSafe for Context {}
impl RefUnwindSafe for Context {}

/// A copy of the current context, PEP 567's `copy_context()` (CC-01).
///
/// Takes the same time at any number of variables, and allocates nothing.
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

impl Context {
    /// An empty context.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::Context;
    ///
    /// assert!(Context::new().is_empty());
    /// ```
    pub const fn new() -> Context {
        Context { node: None, id: 0 }
    }

    /// Calls `f` in this context and returns its result.
    ///
    /// What `f` sets stays in the context, also when it panics (RN-02, RN-03); the caller's context is
    /// current again afterwards. The context replaces the caller's completely: variables it does not
    /// bind are unset inside (RN-04). Entering a context that is entered does not compile, and with `run` as the
    /// one way in there is no way to leave a context twice or out of order (RN-07, RN-10).
    ///
    /// `run` is for synchronous code. A future that `f` returns is polled later, outside the context;
    /// use [`ContextExt::in_context`] for futures (RN-09). Nor may a stackful coroutine be suspended in `f`, and go on
    /// after what it was resumed from has returned: contexts are left in the reverse order of being entered.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, context_var};
    ///
    /// context_var! { static LEVEL: u8 = 0; }
    ///
    /// let mut context = Context::new();
    /// assert_eq!(context.run(|| { LEVEL.set(3); LEVEL.get() }), Some(3));
    /// assert_eq!(context.run(|| LEVEL.get()), Some(3));
    /// assert_eq!(LEVEL.get(), Some(0));
    /// ```
    ///
    /// ```compile_fail,E0499
    /// # use aiocontextvars::Context;
    /// let mut context = Context::new();
    /// context.run(|| context.run(|| ()));
    /// ```
    pub fn run<R>(&mut self, f: impl FnOnce() -> R) -> R {
        current::enter(self, &Kind::Inside, f)
    }

    /// This context with `var` bound to `value`.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, context_var};
    ///
    /// context_var! { static TENANT: &'static str; }
    ///
    /// let context = Context::new().with_value(&TENANT, "acme");
    /// assert_eq!(context.get(&TENANT), Some(&"acme"));
    /// ```
    #[must_use = "`with_value` returns the new context"]
    pub fn with_value<T: Send + Sync + 'static>(
        mut self,
        var: &ContextVar<T>,
        value: T,
    ) -> Context {
        let slot = self
            .settled_slot(var.id())
            .with_value(Some(var.store(value)));
        let garbage = self.replace_slot(var.id(), var.is_local(), slot);
        drop(garbage);
        self
    }

    /// The value bound to `var`. Never the variable's default (CX-04).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, context_var};
    ///
    /// context_var! { static LEVEL: u8 = 7; }
    ///
    /// assert_eq!(Context::new().get(&LEVEL), None);
    /// assert_eq!(LEVEL.get(), Some(7));
    /// ```
    pub fn get<T: Send + Sync + 'static>(&self, var: &ContextVar<T>) -> Option<&T> {
        node::downcast(&**self.value(var.id())?)
    }

    /// Whether `var` is bound in this context.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// assert!(!Context::new().contains(&LEVEL));
    /// assert!(Context::new().with_value(&LEVEL, 1).contains(&LEVEL));
    /// ```
    pub fn contains<T: Send + Sync + 'static>(&self, var: &ContextVar<T>) -> bool {
        self.value(var.id()).is_some()
    }

    /// How many variables are bound.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// assert_eq!(Context::new().with_value(&LEVEL, 1).with_value(&LEVEL, 2).len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.node.as_ref().map_or(0, |node| node.len(self.id))
    }

    /// Whether no variable is bound.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::Context;
    /// assert!(Context::default().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bindings, in no particular order (CX-05).
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// let context = Context::new().with_value(&LEVEL, 1);
    /// let entry = context.iter().next().unwrap();
    /// assert_eq!((entry.name(), entry.downcast_ref::<u8>()), ("LEVEL", Some(&1)));
    /// ```
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            values: match &self.node {
                Some(node) => Box::new(node.values(self.id)),
                None => Box::new(std::iter::empty()),
            },
            left: self.len(),
        }
    }

    /// A function that calls `f` in this context, wherever it is called.
    ///
    /// `f` is dropped inside the context too, called or not. The function is `Send` and `Sync` if `f` is. It takes no
    /// argument: those of [`bind_mut`](Self::bind_mut) and [`bind_fn`](Self::bind_fn) take one. For the *current*
    /// context see [`shim::bind`](crate::shim::bind).
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// let read = Context::new().with_value(&LEVEL, 5).bind(|| LEVEL.get());
    /// assert_eq!(std::thread::spawn(read).join().unwrap(), Some(5));
    /// ```
    pub fn bind<R>(self, f: impl FnOnce() -> R) -> impl FnOnce() -> R {
        let bound = f.in_context(self);
        move || bound.call_once()
    }

    /// A function that makes all calls of `f` in this one context: what a call sets, the next one sees, also after a
    /// panic.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static COUNT: u32 = 0; }
    ///
    /// let mut add = Context::new().bind_mut(|n: u32| {
    ///     COUNT.set(COUNT.get_or(0) + n);
    ///     COUNT.get()
    /// });
    /// assert_eq!((add(1), add(2)), (Some(1), Some(3)));
    /// assert_eq!(COUNT.get(), Some(0));
    /// ```
    pub fn bind_mut<A, R>(self, f: impl FnMut(A) -> R) -> impl FnMut(A) -> R {
        let mut bound = f.in_context(self);
        move |argument| bound.call_mut(argument)
    }

    /// A function that makes each call of `f` in a copy of this context of its own. Calls may overlap, on any number of
    /// threads.
    ///
    /// `A` is one type. Where `f` has to take references of any lifetime, run it by hand. The function is not `Clone`, even
    /// if `f` is: put it in an `Arc`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static COUNT: u32 = 0; }
    ///
    /// let add = Context::new().bind_fn(|n: u32| {
    ///     COUNT.set(COUNT.get_or(0) + n);
    ///     COUNT.get()
    /// });
    /// assert_eq!((add(1), add(2)), (Some(1), Some(2)));
    ///
    /// let context = Context::new().with_value(&COUNT, 7);
    /// let longer = move |text: &str| context.clone().run(|| text.len() as u32 > COUNT.get_or(0));
    /// assert!(longer(&"a".repeat(8)));
    /// ```
    pub fn bind_fn<A, R>(self, f: impl Fn(A) -> R) -> impl Fn(A) -> R {
        let bound: WithContext<_> = f.in_context(self);
        move |argument| bound.call(argument)
    }

    /// Turns the context into one that can be shared: entered in turn from several places, and seen
    /// while it is entered.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// let shared = Context::new().with_value(&LEVEL, 1).share();
    /// shared.run(|| { LEVEL.set(2); }).unwrap();
    /// assert_eq!(shared.get(&LEVEL), Some(2));
    /// ```
    pub fn share(self) -> SharedContext {
        SharedContext::from_context(self)
    }

    pub(crate) fn value(&self, var: u64) -> Option<&Value> {
        self.node.as_ref()?.value(var, self.id)
    }

    /// The slot of a variable, to be written to.
    pub(crate) fn settled_slot(&self, var: u64) -> Slot {
        let slot = self.node.as_ref().and_then(|node| node.slot(var));
        slot.map_or_else(Slot::default, |slot| slot.settled(self.id))
    }

    /// The bindings, if there are any.
    #[inline]
    pub(crate) fn bindings(&self) -> Option<&NodeRef> {
        self.node.as_ref()
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn ensure_id(&mut self) -> u64 {
        if self.id == 0 {
            self.id = id::next();
        }
        self.id
    }

    pub(crate) fn replace_slot(&mut self, var: u64, local: bool, slot: Slot) -> Garbage {
        node::replace(&mut self.node, var, local, slot)
    }

    /// Replaces the value of a variable that has one and no guards, in a context with an id. Returns it, and the bindings
    /// that had it if others have them, too. `None` if that is not so; then `value` is still there.
    #[inline]
    pub(crate) fn swap_value(
        &mut self,
        var: u64,
        value: &mut Option<Value>,
    ) -> Option<(Value, Option<NodeRef>)> {
        match &mut self.node {
            Some(node) if self.id != 0 => node::swap_value(node, var, value),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn inherit(&self) -> Context {
        Context {
            node: node::inherit(&self.node, self.id),
            id: 0,
        }
    }

    /// The same context, id included, for a [`SharedContext`] and the frame in which it is entered.
    pub(crate) fn alias(&self) -> Context {
        Context {
            node: self.node.clone(),
            id: self.id,
        }
    }

    /// What is in the context, if no other context has the same.
    #[inline]
    pub(crate) fn into_last_node(self) -> Option<Node> {
        NodeRef::into_unique(self.node?).map(UniqueArc::into_inner)
    }

    /// The content, leaving the empty context behind.
    pub(crate) fn take(&mut self) -> Context {
        mem::take(self)
    }
}

impl Clone for Context {
    /// PEP 567's `copy()`: the same bindings, a new identity.
    fn clone(&self) -> Context {
        Context {
            node: node::copy(&self.node, self.id),
            id: 0,
        }
    }
}

impl fmt::Debug for Context {
    /// Names, and the values of variables declared with [`ContextVar::debug`]; other values are
    /// redacted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entries: Vec<_> = self.iter().collect();
        entries.sort_by(|a, b| a.name().cmp(b.name()));
        f.write_str("Context ")?;
        f.debug_map()
            .entries(
                entries
                    .iter()
                    .map(|entry| (Verbatim(entry.name()), ShowValue(entry.value))),
            )
            .finish()
    }
}

impl<'a> IntoIterator for &'a Context {
    type Item = Entry<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterator over the bindings of a [`Context`], made by [`Context::iter`].
///
/// # Examples
///
/// See [`Context::iter`].
pub struct Iter<'a> {
    values: Box<dyn Iterator<Item = &'a Value> + Send + Sync + 'a>,
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let value = self.values.next()?;
        self.left -= 1;
        Some(Entry { value: &**value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl fmt::Debug for Iter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// One binding of a [`Context`].
///
/// # Examples
///
/// ```
/// # use aiocontextvars::{Context, context_var};
/// # context_var! { static ID: u64; }
/// let context = Context::new().with_value(&ID, 7);
/// for entry in &context {
///     println!("{} = {:?}", entry.name(), entry.downcast_ref::<u64>());
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    value: &'a dyn AnyValue,
}

impl<'a> Entry<'a> {
    /// The variable's name.
    pub fn name(&self) -> &'a str {
        self.value.name()
    }

    /// The value, if it is a `T`.
    pub fn downcast_ref<T: Send + Sync + 'static>(&self) -> Option<&'a T> {
        node::downcast(self.value)
    }
}

// As the context is.
impl UnwindSafe for Entry<'_> {}
impl RefUnwindSafe for Entry<'_> {}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name())
            .field("value", &ShowValue(self.value))
            .finish()
    }
}

/// Shows a name without quotes.
struct Verbatim<'a>(&'a str);

impl fmt::Debug for Verbatim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Shows a value as its variable allows.
pub(crate) struct ShowValue<'a>(pub(crate) &'a dyn AnyValue);

impl fmt::Debug for ShowValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
