//! [`Context`]: the bindings of context variables, as a value.

use std::fmt;
use std::iter::FusedIterator;
use std::mem::ManuallyDrop;
use std::panic::{RefUnwindSafe, UnwindSafe};

use triomphe::{Arc, UniqueArc};

use crate::companion;
use crate::id::VarKey;
use crate::identity::{Captured, Identity};
use crate::node::{self, Garbage, Node, NodeRef};
use crate::slot::{Guard, Slot, Spare};
use crate::value::{self, AnyValue, ShowValue, Value};
use crate::var::ContextVar;

/// The bindings of context variables, as a value.
///
/// A context is two words. `clone()` is PEP 567's `Context.copy()`: it takes the same time at any
/// size, and the two are independent from then on. Where Python code relies on the *identity* of a
/// context (several callbacks that share one, a view while it is entered), use a
/// [`SharedContext`](crate::SharedContext).
///
/// Bindings are made by [`ContextVar::set`] inside [`run`](Context::run), or by
/// [`with_value`](Context::with_value). Reading through a context never gives a variable's default,
/// as PEP 567 has it.
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
pub struct Context {
    /// `None` is the empty context.
    node: Option<NodeRef>,
    /// Dropped first, by the destructor, which is in `current/drops.rs` and leaves nothing in it to
    /// be dropped.
    identity: ManuallyDrop<Identity>,
}

// Bindings are immutable: a panic cannot leave one half written. (What a value does with interior
// mutability is its own affair, as it is behind an `Arc` anywhere else.)
impl UnwindSafe for Context {}
impl RefUnwindSafe for Context {}

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
        Context::of(None, Identity::NONE)
    }

    const fn of(node: Option<NodeRef>, identity: Identity) -> Context {
        Context {
            node,
            identity: ManuallyDrop::new(identity),
        }
    }

    /// This context with `var` bound to `value`. Guards of `var` that are live in this context no
    /// longer have an effect on it.
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
    pub fn with_value<T: Send + Sync + 'static, D>(
        self,
        var: &ContextVar<T, D>,
        value: T,
    ) -> Context {
        self.with_stored(var.key(), Some(var.store(value)))
    }

    /// This context without a value for `var`. Guards of `var` that are live in this context no
    /// longer have an effect on it.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{context_var, copy_context};
    ///
    /// context_var! { static TENANT: &'static str; static TRANSACTION: u64; }
    ///
    /// TENANT.set("acme");
    /// TRANSACTION.set(7);
    /// let context = copy_context().without(&TRANSACTION);
    /// assert_eq!((context.get(&TENANT), context.get(&TRANSACTION)), (Some(&"acme"), None));
    /// ```
    #[must_use = "`without` returns the new context"]
    pub fn without<T: Send + Sync + 'static, D>(self, var: &ContextVar<T, D>) -> Context {
        self.with_stored(var.key(), None)
    }

    /// This context with another value of a variable, or without one.
    ///
    /// Guards of the variable that are live in this context are ended first. Otherwise their ends,
    /// or the reset of a token that was made under one, would bring back older values.
    pub(crate) fn with_stored(mut self, var: VarKey, value: Option<Value>) -> Context {
        if let Some(slot) = self.node.as_ref().and_then(|node| node.slot(var)) {
            slot.end_guards(self.id());
        }
        let replaced = node::replace(&mut self.node, var, Slot::plain(value));
        drop(replaced);
        self
    }

    /// The value bound to `var`. Never the variable's default.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, context_var};
    ///
    /// context_var! { static LEVEL: u8 = 7; }
    ///
    /// assert_eq!(Context::new().get(&LEVEL), None);
    /// assert_eq!(LEVEL.get(), 7);
    /// ```
    pub fn get<T: Send + Sync + 'static, D>(&self, var: &ContextVar<T, D>) -> Option<&T> {
        value::downcast(&**self.value(var.key())?)
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
    pub fn contains<T: Send + Sync + 'static, D>(&self, var: &ContextVar<T, D>) -> bool {
        self.value(var.key()).is_some()
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
        self.node.as_ref().map_or(0, |node| node.len(self.id()))
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

    /// The bindings, in no particular order: those of this moment, also if guards end while
    /// the iterator is used.
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
        let (left, values) = match &self.node {
            Some(node) => {
                let (count, values) = node.snapshot(self.id());
                (count, Some(values))
            }
            None => (0, None),
        };
        Iter {
            values: Box::new(values.into_iter().flatten()),
            left,
        }
    }

    /// Whether [companions](crate::companion) were captured with this context.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::copy_context;
    /// // A copy takes values only.
    /// assert!(!copy_context().has_companions());
    /// ```
    pub fn has_companions(&self) -> bool {
        self.identity.has_companions()
    }

    /// This context without [companions](crate::companion): where it is entered, what is current on
    /// the thread stays so.
    ///
    /// For a listener, for example, that is registered in a request and outlives it: with the
    /// companions it would keep the request's span open.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{context_var, inherit_context};
    ///
    /// context_var! { static TENANT: &'static str; }
    ///
    /// TENANT.set("acme");
    /// let context = inherit_context().without_companions();
    /// let listener = move |event: &str| context.call(|| format!("{event} of {:?}", TENANT.get()));
    /// assert_eq!(listener("order"), r#"order of Some("acme")"#);
    /// ```
    #[must_use = "`without_companions` returns the new context"]
    pub fn without_companions(self) -> Context {
        self.alias()
    }

    pub(crate) fn value(&self, var: VarKey) -> Option<&Value> {
        self.node.as_ref()?.value(var, self.id())
    }

    /// The variables that are bound, and their values.
    pub(crate) fn values(&self) -> impl Iterator<Item = (VarKey, &Value)> {
        self.node.iter().flat_map(|node| node.values(self.id()))
    }

    /// The slot of a variable as a write finds it.
    fn settled_slot(&self, var: VarKey) -> Slot {
        let slot = self.node.as_ref().and_then(|node| node.slot(var));
        let mut slot = slot.cloned().unwrap_or_default();
        // What it takes out, the context still has.
        let _kept = slot.settle(self.id());
        slot
    }

    /// The bindings, if there are any.
    #[inline]
    pub(crate) fn bindings(&self) -> Option<&NodeRef> {
        self.node.as_ref()
    }

    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.identity.id()
    }

    pub(crate) fn ensure_id(&mut self) -> u64 {
        self.identity.ensure_id()
    }

    /// This context, marked: if it has no companions, nothing is current where it is entered.
    #[inline]
    pub(crate) fn apart(self) -> Context {
        match companion::any() {
            true => self.marked_apart(),
            false => self,
        }
    }

    #[inline(never)]
    fn marked_apart(mut self) -> Context {
        if !self.identity.is_marked() {
            self.identity.set_apart();
        }
        self
    }

    #[inline]
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn identity_mut(&mut self) -> &mut Identity {
        &mut self.identity
    }

    /// A copy of these bindings with what was captured.
    pub(crate) fn accompanied(mut self, captured: Captured) -> Context {
        *self.identity = Identity::new(captured);
        self
    }

    /// Replaces the value of a variable. Returns the slot as it was, and what is to be dropped.
    pub(crate) fn replace(&mut self, var: VarKey, value: Option<Value>) -> (Slot, Garbage) {
        let old = self.settled_slot(var);
        let mut slot = old.clone();
        slot.value = value;
        (old, node::replace(&mut self.node, var, slot))
    }

    /// Replaces the value of a variable that has one and no guards, in a context with an id.
    /// Returns it, and the bindings that had it if others have them, too. `None` if that is not so;
    /// then `value` is still there.
    #[inline]
    pub(crate) fn swap_value(
        &mut self,
        var: VarKey,
        value: &mut Option<Value>,
    ) -> Option<(Value, Option<NodeRef>)> {
        let has_id = self.id() != 0;
        match &mut self.node {
            Some(node) if has_id => node::swap_value(node, var, value),
            _ => None,
        }
    }

    /// Makes a guard for a variable, whose value is `value` under it, in a context with an id,
    /// where that can be done in place. Otherwise `value` is still there.
    #[inline]
    pub(crate) fn push_in_place(
        &mut self,
        var: VarKey,
        value: &mut Option<Value>,
    ) -> Option<Arc<Guard>> {
        let id = self.id();
        match &mut self.node {
            Some(node) if id != 0 => node::push_in_place(node, var, id, value),
            _ => None,
        }
    }

    /// The same, in whatever state the context is.
    pub(crate) fn push(&mut self, var: VarKey, value: Value) -> (Arc<Guard>, Garbage) {
        let id = self.ensure_id();
        let mut slot = self.settled_slot(var);
        // Not with the node's spare: another context may share the node.
        let guard = slot.push(id, value, &mut Spare::default());
        (guard, node::replace(&mut self.node, var, slot))
    }

    /// Takes out the layer of a guard of this context that is about to end, where that can be done
    /// in place. Returns its value. Otherwise `guard` is still there.
    #[inline]
    pub(crate) fn pop_in_place(
        &mut self,
        var: VarKey,
        guard: &mut Option<Arc<Guard>>,
    ) -> Option<Value> {
        node::pop_in_place(self.node.as_mut()?, var, guard)
    }

    /// The same in whatever state the context is, as far as it can be done now.
    pub(crate) fn pop(&mut self, var: VarKey) -> Garbage {
        let Some(mut slot) = self.node.as_ref().and_then(|node| node.slot(var)).cloned() else {
            return Garbage::default();
        };
        match slot.settle(self.id()) {
            Some(_kept_by_the_context) => node::replace(&mut self.node, var, slot),
            None => Garbage::default(),
        }
    }

    /// A copy without companions.
    pub(crate) fn values_only(&self) -> Context {
        Context::of(node::copy(&self.node, self.id()), Identity::NONE)
    }

    /// A copy without companions, if that takes no more than a count.
    #[inline]
    pub(crate) fn quick_copy(&self) -> Option<Context> {
        let node = match &self.node {
            Some(node) => Some(node::quick_copy(node)?),
            None => None,
        };
        Some(Context::of(node, Identity::NONE))
    }

    /// What [`inherit`](Self::inherit) gives, if that takes no more than a count.
    #[inline]
    pub(crate) fn quick_inherit(&self) -> Option<Context> {
        let node = match &self.node {
            Some(node) => Some(node::quick_inherit(node)?),
            None => None,
        };
        Some(Context::of(node, Identity::NONE))
    }

    #[inline]
    pub(crate) fn inherit(&self) -> Context {
        Context::of(node::inherit(&self.node, self.id()), Identity::NONE)
    }

    /// The same context, id included, for a shared context and the frame in which it is entered.
    /// Without companions: a shared context that nobody is in keeps none.
    pub(crate) fn alias(&self) -> Context {
        Context::of(self.node.clone(), self.identity.alone())
    }

    /// What is in the context, if no other context has the same.
    #[inline]
    pub(crate) fn into_last_node(mut self) -> Option<Node> {
        NodeRef::into_unique(self.node.take()?).map(UniqueArc::into_inner)
    }
}

impl Default for Context {
    /// [`Context::new`].
    fn default() -> Context {
        Context::new()
    }
}

impl Clone for Context {
    /// PEP 567's `copy()`: the same bindings and [companions](crate::companion), a new identity.
    fn clone(&self) -> Context {
        Context::of(node::copy(&self.node, self.id()), self.identity.copy())
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
impl FusedIterator for Iter<'_> {}

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
        value::downcast(self.value)
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
