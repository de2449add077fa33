//! Variables over the wire: the rules of W3C Baggage, bad input, and round trips.

mod carriers;
#[path = "../common/leak.rs"]
mod leak;
mod limits;
mod problems;
mod random;
mod specification;

use std::str;

use aiocontextvars::propagation::{
    Extracted, Extractor, Injector, Problem, ProblemKind, Propagator,
};
use aiocontextvars::{Context, context_var};

context_var! {
    static NAME: String;
    static OTHER: String;
    static NUMBER: u64;
    static LOCALE: String = "en".to_owned();
}

/// The headers of one message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Message(Vec<Vec<u8>>);

impl Message {
    fn of<T: AsRef<[u8]>>(headers: &[T]) -> Message {
        Message(
            headers
                .iter()
                .map(|header| header.as_ref().to_vec())
                .collect(),
        )
    }

    /// What there is in its only header.
    fn text(&self) -> &str {
        match &self.0[..] {
            [] => "",
            [header] => str::from_utf8(header).unwrap(),
            several => panic!("{} headers", several.len()),
        }
    }
}

impl Injector for Message {
    fn set(&mut self, name: &'static str, value: String) {
        assert_eq!(name, "baggage");
        self.0 = vec![value.into_bytes()];
    }
}

impl Extractor for Message {
    fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        assert_eq!(name, "baggage");
        self.0.iter().map(Vec::as_slice)
    }
}

/// Sends and receives a text as `k`, and a number as `n`.
fn propagator() -> Propagator {
    Propagator::new().both("k", &NAME).both("n", &NUMBER)
}

fn extract<T: AsRef<[u8]>>(propagator: &Propagator, headers: &[T]) -> Extracted {
    propagator.extract(Context::new(), &Message::of(headers))
}

/// What is sent, without problems.
fn inject(propagator: &Propagator, context: &Context) -> String {
    let mut message = Message::default();
    assert_eq!(propagator.inject(context, &mut message), []);
    message.text().to_owned()
}

fn kinds(problems: &[Problem]) -> Vec<(Option<&str>, ProblemKind)> {
    let kinds = problems
        .iter()
        .map(|problem| (problem.member(), problem.kind()));
    kinds.collect()
}
