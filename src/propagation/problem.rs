//! [`Problem`]: why a member was left out.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use super::{MAX_BYTES, MAX_MEMBERS};

/// How much is kept of a key that the other side has chosen.
const MAX_SHOWN: usize = 128;

/// How many problems are reported of one message, so that its sender cannot fill a log.
const MAX_REPORTED: usize = 2 * MAX_MEMBERS;

/// A member of a message that was left out, and why. The others stand.
///
/// It names the member, and never shows its value. The name is visible ASCII without quotes and
/// separators, and cut off after 128 bytes.
///
/// # Examples
///
/// ```
/// use aiocontextvars::propagation::{ProblemKind, Propagator};
/// use aiocontextvars::{Context, context_var};
///
/// context_var! { static REQUEST_ID: u64; static TENANT: String; }
///
/// let propagator = Propagator::new().receive("request-id", &REQUEST_ID).receive("tenant", &TENANT);
/// let headers = vec![("baggage".to_owned(), "request-id=x7,tenant=acme".to_owned())];
/// let received = propagator.extract(Context::new(), &headers);
/// assert_eq!(received.context.get(&TENANT).unwrap(), "acme");
/// let [problem] = &received.problems[..] else { panic!() };
/// assert_eq!((problem.member(), problem.kind()), (Some("request-id"), ProblemKind::Value));
/// assert_eq!(
///     problem.to_string(),
///     "the baggage member `request-id` was left out: its value does not parse as its variable's type"
/// );
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Problem {
    member: Option<Cow<'static, str>>,
    kind: ProblemKind,
}

/// What is wrong with a member.
///
/// # Examples
///
/// See [`Problem`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// It is no `key=value`, or there are characters in it that must be encoded.
    Malformed,
    /// Its value is not percent-encoded UTF-8.
    Encoding,
    /// Its value does not parse as one of its variable's type. Or, where it is sent, it could not
    /// be encoded.
    Value,
    /// Its value is longer than [`max_len`](super::Propagator::max_len) allows.
    ValueTooLong,
    /// The propagator does not receive this key, and does not pass it on.
    NotReceived,
    /// There are [`MAX_MEMBERS`] before it.
    TooManyMembers,
    /// With those before it, it would have more than [`MAX_BYTES`].
    TooManyBytes,
}

impl Problem {
    /// The key of the member. `None` if it has none that could be shown.
    pub fn member(&self) -> Option<&str> {
        self.member.as_deref()
    }

    /// What is wrong with it.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// Whether it is about a value that was to be sent.
    fn is_of_program(&self) -> bool {
        matches!(self.member, Some(Cow::Borrowed(_)))
    }

    /// That of a member that was to be sent, whose key the program has chosen.
    pub(super) fn own(key: &'static str, kind: ProblemKind) -> Problem {
        Problem {
            member: Some(Cow::Borrowed(key)),
            kind,
        }
    }

    /// That of a member whose key, a token, the other side has chosen.
    pub(super) fn others(key: Option<&str>, kind: ProblemKind) -> Problem {
        let shown = key.map(|key| key.get(..MAX_SHOWN).unwrap_or(key).to_owned());
        Problem {
            member: shown.map(Cow::Owned),
            kind,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            Some(name) => write!(f, "the baggage member `{name}` was left out: ")?,
            None => f.write_str("a baggage member was left out: ")?,
        }
        match self.kind {
            ProblemKind::Malformed => {
                f.write_str("it is not `key=value` with all other characters percent-encoded")
            }
            ProblemKind::Encoding => f.write_str("its value is not percent-encoded UTF-8"),
            ProblemKind::Value if self.is_of_program() => f.write_str(
                "its value could not be written; its `Display` has failed, or its codec returned `None`",
            ),
            ProblemKind::Value => f.write_str("its value does not parse as its variable's type"),
            ProblemKind::ValueTooLong => f.write_str(
                "its value is longer than this propagator allows; for more, see `max_len`",
            ),
            ProblemKind::NotReceived => f.write_str(
                "this propagator does not receive it; list it by `receive` or `both`, or `pass_on` those of others",
            ),
            ProblemKind::TooManyMembers => {
                write!(f, "there are {MAX_MEMBERS} members before it, which is the limit")
            }
            ProblemKind::TooManyBytes => write!(
                f,
                "with those before it, it has more than {MAX_BYTES} bytes, which is the limit"
            ),
        }
    }
}

impl Error for Problem {}

/// What is reported of a message.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn push(&mut self, problem: impl FnOnce() -> Problem) {
        if self.0.len() < MAX_REPORTED {
            self.0.push(problem());
        }
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}
