//! [`Propagator::inject`] and [`Propagator::extract`]: a context's values into a message, and out of
//! it.

use super::BAGGAGE;
use super::carrier::{Extractor, Injector};
use super::member::{self, Member, Room};
use super::percent::{self, Encoder};
use super::problem::{Problem, ProblemKind, Problems};
use super::propagator::Propagator;
use crate::context::Context;
use crate::var::ContextVar;

/// What a header with a few members takes.
const USUAL_BYTES: usize = 64;

/// The members of others, to be passed on.
static PASSED_ON: ContextVar<String> = ContextVar::new("baggage of others");

/// What [`Propagator::extract`] has read.
///
/// # Examples
///
/// See [`Propagator::extract`].
#[derive(Debug)]
#[must_use = "the context has the values that were received"]
pub struct Extracted {
    /// The context that it was given, with the values of the message.
    pub context: Context,
    /// What was left out, in the order of the message: up to 128 of its members.
    pub problems: Vec<Problem>,
}

impl Propagator {
    /// Writes the values of `context` into a message: one [`BAGGAGE`] header, or none if there is
    /// nothing to send.
    ///
    /// The own members come first, in the order in which they were listed. A member that would be
    /// beyond a limit is left out as a whole. Returns what was left out; ignoring that is fine.
    ///
    /// # Panics
    ///
    /// If a value's `Display`, the codec of a variable or the carrier panics. Nothing is set then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use aiocontextvars::{context_var, copy_context, propagation::Propagator};
    ///
    /// context_var! { static TENANT: String; }
    ///
    /// TENANT.set("acme".to_owned());
    /// let mut headers = HashMap::new();
    /// for problem in Propagator::new().send("tenant", &TENANT).inject(&copy_context(), &mut headers) {
    ///     eprintln!("{problem}");
    /// }
    /// assert_eq!(headers["baggage"], "tenant=acme");
    /// ```
    pub fn inject(&self, context: &Context, carrier: &mut impl Injector) -> Vec<Problem> {
        let mut header = String::new();
        let mut room = Room::new();
        let mut problems = Problems::default();
        for entry in &self.entries {
            let Some(encode) = &entry.encode else {
                continue;
            };
            if header.is_empty() {
                header.reserve(USUAL_BYTES);
            }
            let before = header.len();
            member::separate(&mut header);
            let start = header.len();
            header.extend([entry.key, "="]);
            let written = encode(context, &mut Encoder::new(&mut header, entry.max_len));
            let Some(written) = written else {
                header.truncate(before);
                continue;
            };
            if let Err(kind) = written.and_then(|()| room.take(header.len() - start)) {
                header.truncate(before);
                problems.push(|| Problem::own(entry.key, kind));
            }
        }
        let others = context.get(&PASSED_ON).filter(|_| self.passes_on);
        for (key, member) in others.into_iter().flat_map(|list| member::members_of(list)) {
            // Another propagator may have received it; this one speaks for itself.
            if self.entry(key).is_some() {
                continue;
            }
            match room.take(member.len()) {
                Ok(()) => {
                    member::separate(&mut header);
                    header.push_str(member);
                }
                Err(kind) => problems.push(|| Problem::others(Some(key), kind)),
            }
        }
        if !header.is_empty() {
            carrier.set(BAGGAGE, header);
        }
        problems.into_vec()
    }

    /// Reads the values of a message into `base`, and never fails: a member with a problem is left
    /// out, and the others stand.
    ///
    /// Where a key that is received is there several times, the last one that has no problem
    /// counts. Its properties are ignored. A variable that the message says nothing of has the
    /// value of `base`.
    ///
    /// All of this takes time linear in the length of the headers.
    ///
    /// # Panics
    ///
    /// If the `FromStr` of a listed type, the codec of a variable or the carrier panics; no bytes
    /// of a message make this crate's own code panic.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{context_var, inherit_context, propagation::Propagator};
    ///
    /// context_var! { static TENANT: String; static REQUEST_ID: u64; }
    ///
    /// let propagator = Propagator::new().both("tenant", &TENANT).both("request-id", &REQUEST_ID);
    /// let headers = vec![("baggage".to_owned(), "tenant=acme,request-id=seven".to_owned())];
    /// let received = propagator.extract(inherit_context(), &headers);
    /// for problem in &received.problems {
    ///     eprintln!("{problem}");
    /// }
    /// let mut context = received.context;
    /// context.run(|| assert_eq!((TENANT.get().unwrap(), REQUEST_ID.get()), ("acme".to_owned(), None)));
    /// ```
    pub fn extract(&self, base: Context, carrier: &impl Extractor) -> Extracted {
        let mut context = base;
        let mut room = Room::new();
        let mut others = String::new();
        let mut problems = Problems::default();
        for header in carrier.get_all(BAGGAGE) {
            for member in member::split(header) {
                let received = Member::parse(member).and_then(|parsed| {
                    let received = room
                        .take(member.len())
                        .and_then(|()| self.receive_member(&parsed, &mut context, &mut others));
                    received.map_err(|kind| (Some(parsed.key), kind))
                });
                if let Err((key, kind)) = received {
                    problems.push(|| Problem::others(key, kind));
                }
            }
        }
        // Those of another message do not go on in this one's context.
        if self.passes_on && (!others.is_empty() || context.contains(&PASSED_ON)) {
            let others = Some(others).filter(|others| !others.is_empty());
            let others = others.map(|others| PASSED_ON.store(others));
            drop(context.replace(PASSED_ON.key(), others));
        }
        Extracted {
            context,
            problems: problems.into_vec(),
        }
    }

    fn receive_member(
        &self,
        member: &Member<'_>,
        context: &mut Context,
        others: &mut String,
    ) -> Result<(), ProblemKind> {
        let Some(entry) = self.entry(member.key) else {
            return match self.passes_on {
                true => {
                    member.push_to(others);
                    Ok(())
                }
                false => Err(ProblemKind::NotReceived),
            };
        };
        let Some((entry, decode)) = self.receiving(entry) else {
            return Err(ProblemKind::NotReceived);
        };
        let text = percent::decode(member.value)?;
        if text.len() > entry.max_len {
            return Err(ProblemKind::ValueTooLong);
        }
        let (var, value) = decode(&text).ok_or(ProblemKind::Value)?;
        drop(context.replace(var, Some(value)));
        Ok(())
    }
}
