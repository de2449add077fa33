//! [`Injector`] and [`Extractor`]: the headers of a message.

use std::collections::HashMap;
use std::hash::BuildHasher;

/// The headers of a message that goes out.
///
/// Implemented for `HashMap<String, String>`, `Vec<(String, String)>` and, with the feature `http`,
/// for `http::HeaderMap`. For others it is one function:
///
/// # Examples
///
/// ```
/// use aiocontextvars::propagation::{Injector, Propagator};
/// use aiocontextvars::{context_var, copy_context};
///
/// context_var! { static TENANT: String; }
///
/// #[derive(Default)]
/// struct Message {
///     headers: Vec<(&'static str, Vec<u8>)>,
/// }
///
/// impl Injector for Message {
///     fn set(&mut self, name: &'static str, value: String) {
///         self.headers.push((name, value.into_bytes()));
///     }
/// }
///
/// TENANT.set("acme".to_owned());
/// let mut message = Message::default();
/// Propagator::new().send("tenant", &TENANT).inject(&copy_context(), &mut message);
/// assert_eq!(message.headers, [("baggage", b"tenant=acme".to_vec())]);
/// ```
pub trait Injector {
    /// Sets a header, in place of those with the same name. The name is in lower case, and the
    /// value is visible ASCII.
    fn set(&mut self, name: &'static str, value: String);
}

/// The headers of a message that came in.
///
/// Implemented for what [`Injector`] is. The bytes of a header may be anything.
///
/// # Examples
///
/// ```
/// use aiocontextvars::propagation::{Extractor, Propagator};
/// use aiocontextvars::{Context, context_var};
///
/// context_var! { static TENANT: String; }
///
/// struct Message {
///     headers: Vec<(&'static str, Vec<u8>)>,
/// }
///
/// impl Extractor for Message {
///     fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
///         let named = self.headers.iter().filter(move |header| header.0.eq_ignore_ascii_case(name));
///         named.map(|(_, value)| value.as_slice())
///     }
/// }
///
/// let message = Message { headers: vec![("baggage", b"tenant=acme".to_vec())] };
/// let received = Propagator::new().receive("tenant", &TENANT).extract(Context::new(), &message);
/// assert_eq!(received.context.get(&TENANT).unwrap(), "acme");
/// ```
pub trait Extractor {
    /// The values of all headers with this name, in their order. The name is in lower case, and
    /// that of a header is the same in any case.
    fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
}

impl<S: BuildHasher> Injector for HashMap<String, String, S> {
    fn set(&mut self, name: &'static str, value: String) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value);
    }
}

impl<S: BuildHasher> Extractor for HashMap<String, String, S> {
    /// The header whose name is in lower case, or else the first by name: the map has no order of
    /// its own.
    fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let in_another_case = || {
            let same = self
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(name));
            same.min_by_key(|(key, _)| *key).map(|(_, value)| value)
        };
        let value = self.get(name).or_else(in_another_case);
        value.map(String::as_bytes).into_iter()
    }
}

impl Injector for Vec<(String, String)> {
    fn set(&mut self, name: &'static str, value: String) {
        self.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.push((name.to_owned(), value));
    }
}

impl Extractor for Vec<(String, String)> {
    fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let same = self
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_bytes())
    }
}
