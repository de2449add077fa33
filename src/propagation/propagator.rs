//! [`Propagator`]: which variables travel, and in which direction.

use std::fmt::{self, Display, Write};
use std::str::FromStr;

use super::MAX_MEMBERS;
use super::codec::{self, Decode, Encode};
use super::member;
use crate::var::ContextVar;

/// The longest value of a variable, unless [`Propagator::max_len`] says otherwise.
const MAX_LEN: usize = 1024;

/// Which variables travel, by which key and in which direction. See the [module](super).
///
/// It is made once, in a [`LazyLock`](std::sync::LazyLock). Only values travel that a context
/// binds, and no defaults.
///
/// # Panics
///
/// Methods that list a variable panic if the key is no token (RFC 7230: visible ASCII without
/// separators), if it is listed in that direction already, or if [`MAX_MEMBERS`] are listed; a key
/// that is listed once for each direction counts twice. All of these are mistakes in the program,
/// found when the propagator is made.
///
/// # Examples
///
/// ```
/// use std::sync::LazyLock;
/// use aiocontextvars::{context_var, propagation::Propagator};
///
/// context_var! { static TENANT: String; static REQUEST_ID: u64; static DEBUG: bool; }
///
/// /// Between the services of one system.
/// static INSIDE: LazyLock<Propagator> = LazyLock::new(|| {
///     Propagator::new()
///         .both("tenant", &TENANT)
///         .max_len(64)
///         .both("request-id", &REQUEST_ID)
///         .receive("debug", &DEBUG)
///         .pass_on()
/// });
///
/// /// At the edge, where anybody can call: nobody is believed.
/// static EDGE: LazyLock<Propagator> =
///     LazyLock::new(|| Propagator::new().send("tenant", &TENANT).send("request-id", &REQUEST_ID));
/// # _ = (&*INSIDE, &*EDGE);
/// ```
#[derive(Default)]
pub struct Propagator {
    pub(super) entries: Vec<Entry>,
    pub(super) passes_on: bool,
}

/// A variable that was listed.
pub(super) struct Entry {
    pub(super) key: &'static str,
    pub(super) max_len: usize,
    pub(super) encode: Option<Encode>,
    pub(super) decode: Option<Decode>,
}

impl Propagator {
    /// A propagator without variables: nothing leaves, and nothing is received.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{copy_context, propagation::Propagator};
    ///
    /// let mut headers = Vec::new();
    /// Propagator::new().inject(&copy_context(), &mut headers);
    /// assert!(headers.is_empty());
    /// ```
    pub fn new() -> Propagator {
        Propagator::default()
    }

    /// Sends and receives the variable, as its `Display` and `FromStr` have it.
    ///
    /// # Panics
    ///
    /// If the key is no token, or is listed already; see [`Propagator`].
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, context_var, propagation::Propagator};
    ///
    /// context_var! { static REQUEST_ID: u64; }
    ///
    /// let propagator = Propagator::new().both("request-id", &REQUEST_ID);
    /// let mut headers = Vec::new();
    /// propagator.inject(&Context::new().with_value(&REQUEST_ID, 7), &mut headers);
    /// let received = propagator.extract(Context::new(), &headers);
    /// assert_eq!(received.context.get(&REQUEST_ID), Some(&7));
    /// ```
    #[must_use = "`both` returns the propagator"]
    #[track_caller]
    pub fn both<T, D>(self, key: &'static str, var: &'static ContextVar<T, D>) -> Propagator
    where
        T: Display + FromStr + Send + Sync + 'static,
        D: 'static,
    {
        self.list(key, Some(display(var)), Some(from_str(var)))
    }

    /// Sends the variable and does not receive it: a value that comes in is left out and reported.
    ///
    /// # Panics
    ///
    /// If the key is no token, or is listed already; see [`Propagator`].
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, context_var, propagation::Propagator};
    ///
    /// context_var! { static TENANT: String; }
    ///
    /// let edge = Propagator::new().send("tenant", &TENANT);
    /// let forged = vec![("baggage".to_owned(), "tenant=acme".to_owned())];
    /// let received = edge.extract(Context::new(), &forged);
    /// assert_eq!((received.context.get(&TENANT), received.problems.len()), (None, 1));
    /// ```
    #[must_use = "`send` returns the propagator"]
    #[track_caller]
    pub fn send<T, D>(self, key: &'static str, var: &'static ContextVar<T, D>) -> Propagator
    where
        T: Display + Send + Sync + 'static,
        D: 'static,
    {
        self.list(key, Some(display(var)), None)
    }

    /// Receives the variable and does not send it.
    ///
    /// # Panics
    ///
    /// If the key is no token, or is listed already; see [`Propagator`].
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, context_var, propagation::Propagator};
    ///
    /// context_var! { static DEBUG: bool; }
    ///
    /// let propagator = Propagator::new().receive("debug", &DEBUG);
    /// let headers = vec![("baggage".to_owned(), "debug=true".to_owned())];
    /// let context = propagator.extract(Context::new(), &headers).context;
    /// assert_eq!(context.get(&DEBUG), Some(&true));
    /// ```
    #[must_use = "`receive` returns the propagator"]
    #[track_caller]
    pub fn receive<T, D>(self, key: &'static str, var: &'static ContextVar<T, D>) -> Propagator
    where
        T: FromStr + Send + Sync + 'static,
        D: 'static,
    {
        self.list(key, None, Some(from_str(var)))
    }

    /// Sends and receives the variable as two functions have it. Where one returns `None`, the
    /// member is left out and reported ([`ProblemKind::Value`](super::ProblemKind::Value)).
    ///
    /// Both take and return plain text, which is percent-encoded and decoded for them.
    ///
    /// # Panics
    ///
    /// If the key is no token, or is listed already; see [`Propagator`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use aiocontextvars::{context_var, propagation::Propagator};
    ///
    /// context_var! { static BUDGET: Duration; }
    ///
    /// let propagator = Propagator::new().with_codec(
    ///     "budget-ms",
    ///     &BUDGET,
    ///     |budget| Some(budget.as_millis().to_string()),
    ///     |text| text.parse().ok().map(Duration::from_millis),
    /// );
    /// # _ = propagator;
    /// ```
    #[must_use = "`with_codec` returns the propagator"]
    #[track_caller]
    pub fn with_codec<T, D>(
        self,
        key: &'static str,
        var: &'static ContextVar<T, D>,
        encode: impl Fn(&T) -> Option<String> + Send + Sync + 'static,
        decode: impl Fn(&str) -> Option<T> + Send + Sync + 'static,
    ) -> Propagator
    where
        T: Send + Sync + 'static,
        D: 'static,
    {
        let encode = codec::encode(var, move |value, out| {
            out.write_str(&encode(value).ok_or(fmt::Error)?)
        });
        self.list(key, Some(encode), Some(codec::decode(var, decode)))
    }

    /// The greatest length of the value that was listed last, in bytes before they are encoded, for
    /// both directions. It is 1024 by default.
    ///
    /// # Panics
    ///
    /// If nothing was listed.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, context_var, propagation::Propagator};
    ///
    /// context_var! { static LOCALE: String; }
    ///
    /// let propagator = Propagator::new().both("locale", &LOCALE).max_len(2);
    /// let headers = vec![("baggage".to_owned(), "locale=elvish".to_owned())];
    /// assert_eq!(propagator.extract(Context::new(), &headers).context.get(&LOCALE), None);
    /// ```
    #[must_use = "`max_len` returns the propagator"]
    #[track_caller]
    pub fn max_len(mut self, bytes: usize) -> Propagator {
        let last = self.entries.last_mut();
        last.expect("`max_len` is about the variable that was listed last, and there is none")
            .max_len = bytes;
        self
    }

    /// Passes on the members whose keys are not listed: those of a message that comes in go out
    /// with the messages that its work sends, by this propagator or another one that passes on.
    ///
    /// They stay in the [`Context`](crate::Context) that was extracted, where they count as one
    /// variable, and follow the work as others do. They come after the own members, in their order,
    /// with their properties, and duplicates stay.
    ///
    /// Do not do this at the edge of a system: then anybody may put members into the messages
    /// inside of it.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, propagation::Propagator};
    ///
    /// let propagator = Propagator::new().pass_on();
    /// let headers = vec![("baggage".to_owned(), "a=1;p, b=2".to_owned())];
    /// let context = propagator.extract(Context::new(), &headers).context;
    /// let mut next = Vec::new();
    /// propagator.inject(&context, &mut next);
    /// assert_eq!(next, [("baggage".to_owned(), "a=1;p,b=2".to_owned())]);
    /// ```
    #[must_use = "`pass_on` returns the propagator"]
    pub fn pass_on(mut self) -> Propagator {
        self.passes_on = true;
        self
    }

    /// The keys, in the order in which they were listed; one that is listed once for each direction
    /// comes twice.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{context_var, propagation::Propagator};
    ///
    /// context_var! { static TENANT: String; static DEBUG: bool; }
    ///
    /// let propagator = Propagator::new().send("tenant", &TENANT).receive("debug", &DEBUG);
    /// assert_eq!(propagator.keys().collect::<Vec<_>>(), ["tenant", "debug"]);
    /// ```
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.key)
    }

    /// The first entry for a key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The entry that receives the key of this one: a key may be sent by one entry and received by
    /// another.
    pub(super) fn receiving<'a>(&'a self, entry: &'a Entry) -> Option<(&'a Entry, &'a Decode)> {
        let mut same = self.entries.iter().filter(|other| other.key == entry.key);
        same.find_map(|entry| Some((entry, entry.decode.as_ref()?)))
    }

    #[track_caller]
    fn list(
        mut self,
        key: &'static str,
        encode: Option<Encode>,
        decode: Option<Decode>,
    ) -> Propagator {
        assert!(
            member::is_token(key.as_bytes()),
            "the key `{key}` is no token, as W3C Baggage wants it: visible ASCII without spaces and separators"
        );
        let is_listed = self.entries.iter().any(|entry| {
            entry.key == key
                && (entry.encode.is_some() && encode.is_some()
                    || entry.decode.is_some() && decode.is_some())
        });
        assert!(
            !is_listed,
            "the key `{key}` is listed twice; list each once for a direction"
        );
        assert!(
            self.entries.len() < MAX_MEMBERS,
            "the key `{key}` is one too many: {MAX_MEMBERS} are the limit of W3C Baggage"
        );
        self.entries.push(Entry {
            key,
            max_len: MAX_LEN,
            encode,
            decode,
        });
        self
    }
}

fn display<T, D>(var: &'static ContextVar<T, D>) -> Encode
where
    T: Display + Send + Sync + 'static,
    D: 'static,
{
    codec::encode(var, |value, out| write!(out, "{value}"))
}

fn from_str<T, D>(var: &'static ContextVar<T, D>) -> Decode
where
    T: FromStr + Send + Sync + 'static,
    D: 'static,
{
    codec::decode(var, |text| text.parse().ok())
}

impl fmt::Debug for Propagator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = |goes: fn(&Entry) -> bool| -> Vec<&str> {
            let those = self.entries.iter().filter(|entry| goes(entry));
            those.map(|entry| entry.key).collect()
        };
        f.debug_struct("Propagator")
            .field("sends", &keys(|entry| entry.encode.is_some()))
            .field("receives", &keys(|entry| entry.decode.is_some()))
            .field("passes_on", &self.passes_on)
            .finish()
    }
}
