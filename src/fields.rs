//! [`Fields`]: variables that are part of every log record.

pub(crate) mod escape;
mod field;
mod value;

use std::fmt;

pub use self::field::Field;
pub use self::value::FieldValue;
use crate::reentrancy::{self, Activity};
use crate::var::ContextVar;

/// Variables that belong into every log record, under the names that they have there.
///
/// Declared once, in a static, and given to what writes the records:
/// `bridge::tracing_subscriber` and `bridge::log`, or a loop of one's own.
///
/// A variable is listed on purpose. What is not listed here is in no log.
///
/// # Examples
///
/// ```
/// use std::fmt::Write;
/// use std::sync::LazyLock;
/// use aiocontextvars::{Fields, context_var};
///
/// context_var! {
///     static REQUEST_ID: u64;
///     static TENANT: String;
///     static USER: String;
/// }
///
/// static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
///     Fields::new().with("request_id", &REQUEST_ID).with("tenant", &TENANT).with("user", &USER)
/// });
///
/// REQUEST_ID.set(7);
/// TENANT.set("acme\nINFO forged=1".to_owned());
/// let mut line = String::new();
/// FIELDS.for_each(|name, value| write!(line, " {name}={value}").unwrap());
/// assert_eq!(line, r#" request_id=7 tenant="acme\nINFO forged=1""#);
/// ```
#[derive(Default)]
pub struct Fields {
    entries: Vec<Entry>,
}

struct Entry {
    name: &'static str,
    read: Read,
}

/// Calls the function with the value that the variable has, if it has one.
type Read = Box<dyn Fn(&mut dyn FnMut(FieldValue<'_>)) + Send + Sync>;

impl Fields {
    /// No fields.
    ///
    /// # Examples
    ///
    /// See [`Fields`].
    pub fn new() -> Fields {
        Fields::default()
    }

    /// Adds a variable whose values are numbers, truth values or strings, as what they are.
    ///
    /// # Panics
    ///
    /// If `name` is there already, or if it is not one word: it must not be empty, and has no
    /// spaces, control characters, quotes or `=`.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{FieldValue, Fields, context_var};
    ///
    /// context_var! { static ATTEMPT: u8 = 1; }
    ///
    /// let fields = Fields::new().with("attempt", &ATTEMPT);
    /// // A default is a value.
    /// fields.for_each(|name, value| {
    ///     assert!(name == "attempt" && matches!(value, FieldValue::U64(1)));
    /// });
    /// ```
    #[must_use = "`with` returns the fields"]
    #[track_caller]
    pub fn with<T, D>(self, name: &'static str, var: &'static ContextVar<T, D>) -> Fields
    where
        T: Field + Send + Sync + 'static,
        D: Send + Sync + 'static,
    {
        self.list(name, var, |value, f| f(value.value()))
    }

    /// Adds a variable whose values are shown by their `Display`, as strings.
    ///
    /// An event that this `Display` logs itself has the other fields only.
    ///
    /// # Panics
    ///
    /// As for [`with`](Self::with).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::{IpAddr, Ipv4Addr};
    /// use aiocontextvars::{Fields, context_var};
    ///
    /// context_var! { static PEER: IpAddr = Ipv4Addr::LOCALHOST.into(); }
    ///
    /// let fields = Fields::new().display("peer", &PEER);
    /// fields.for_each(|_, value| assert_eq!(value.to_string(), r#""127.0.0.1""#));
    /// ```
    #[must_use = "`display` returns the fields"]
    #[track_caller]
    pub fn display<T, D>(self, name: &'static str, var: &'static ContextVar<T, D>) -> Fields
    where
        T: fmt::Display + Send + Sync + 'static,
        D: Send + Sync + 'static,
    {
        self.list(name, var, |value, f| f(FieldValue::Display(value)))
    }

    #[track_caller]
    fn list<T, D>(
        mut self,
        name: &'static str,
        var: &'static ContextVar<T, D>,
        show: impl Fn(&T, &mut dyn FnMut(FieldValue<'_>)) + Send + Sync + 'static,
    ) -> Fields
    where
        T: Send + Sync + 'static,
        D: Send + Sync + 'static,
    {
        let odd = |c: char| c.is_whitespace() || c.is_control() || "\"'=\\".contains(c);
        assert!(
            !name.is_empty() && !name.contains(odd),
            "the name of a field is one word without quotes and `=`, and {name:?} is not"
        );
        assert!(
            self.names().all(|other| other != name),
            "there is a field `{name}` already; give this one another name"
        );
        let read: Read = Box::new(move |f| {
            // A `Display` may log, and would be called for that record as well.
            let shown = Activity::ShowField(var.key().number());
            reentrancy::begin(shown, || {
                var.with(|value| {
                    if let Some(value) = value {
                        show(value, f);
                    }
                })
            });
        });
        self.entries.push(Entry { name, read });
        self
    }

    /// Calls `f` with the name and the current value of each variable that has a value, in the
    /// order in which they were listed.
    ///
    /// Nothing is allocated. `f` may call anything in this crate.
    ///
    /// # Examples
    ///
    /// See [`Fields`].
    pub fn for_each(&self, mut f: impl FnMut(&'static str, FieldValue<'_>)) {
        for Entry { name, read } in &self.entries {
            read(&mut |value| f(name, value));
        }
    }

    /// As [`for_each`](Self::for_each), for the field at `index`.
    #[cfg(feature = "log")]
    pub(crate) fn read(&self, index: usize, mut f: impl FnMut(&'static str, FieldValue<'_>)) {
        if let Some(Entry { name, read }) = self.entries.get(index) {
            read(&mut |value| f(name, value));
        }
    }

    /// The names, in the order in which they were listed.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Fields, context_var};
    ///
    /// context_var! { static USER: u64; }
    ///
    /// let fields = Fields::new().with("user", &USER);
    /// assert_eq!(fields.names().collect::<Vec<_>>(), ["user"]);
    /// ```
    pub fn names(&self) -> impl ExactSizeIterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.name)
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
