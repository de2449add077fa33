//! Reads bytes as the `baggage` headers of a message, one a line, and checks the outcome:
//! what is passed on is well formed and within the limits, whoever receives that finds nothing
//! wrong with it and sends the same, and no problem shows a byte that a log could trip over.
#![no_main]

use std::sync::LazyLock;

use aiocontextvars::propagation::{Extractor, Injector, MAX_BYTES, MAX_MEMBERS, Propagator};
use aiocontextvars::{Context, ContextVar};
use libfuzzer_sys::fuzz_target;

static TEXT: ContextVar<String> = ContextVar::new("text");
static NUMBER: ContextVar<i64> = ContextVar::new("number");

static ONLY: LazyLock<Propagator> =
    LazyLock::new(|| Propagator::new().both("k", &TEXT).both("n", &NUMBER));
static PASSES_ON: LazyLock<Propagator> = LazyLock::new(|| {
    let propagator = Propagator::new().both("k", &TEXT).both("n", &NUMBER);
    propagator.pass_on()
});

struct Received<'a>(&'a [u8]);

impl Extractor for Received<'_> {
    fn get_all<'a>(&'a self, _: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|&byte| byte == b'\n')
    }
}

#[derive(Default)]
struct Sent(String);

impl Injector for Sent {
    fn set(&mut self, name: &'static str, value: String) {
        assert!(name == "baggage" && !value.is_empty());
        self.0 = value;
    }
}

fn send(propagator: &Propagator, context: &Context) -> String {
    let mut sent = Sent::default();
    let problems = propagator.inject(context, &mut sent);
    // A value that just fits may take more bytes than before: not all need be encoded.
    assert!(problems.iter().all(|problem| problem.member().is_some()));
    let text = sent.0;
    assert!(text.len() <= MAX_BYTES);
    assert!(text.split(',').count() <= MAX_MEMBERS);
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    assert!(text.bytes().all(is_allowed), "{text:?}");
    text
}

fuzz_target!(|bytes: &[u8]| {
    let first = PASSES_ON.extract(Context::new(), &Received(bytes));
    for problem in &first.problems {
        let text = problem.to_string();
        assert!(
            text.bytes()
                .all(|byte| byte == b' ' || byte.is_ascii_graphic()),
            "{text:?}"
        );
    }
    let sent = send(&PASSES_ON, &first.context);
    let second = PASSES_ON.extract(Context::new(), &Received(sent.as_bytes()));
    assert_eq!(second.problems, []);
    assert_eq!(send(&PASSES_ON, &second.context), sent);

    // Values are the same whatever is done with members of others.
    let only = ONLY.extract(Context::new(), &Received(bytes));
    assert_eq!(only.context.get(&TEXT), first.context.get(&TEXT));
    assert_eq!(only.context.get(&NUMBER), first.context.get(&NUMBER));
    assert!(only.problems.len() >= first.problems.len());
    assert!(!send(&ONLY, &only.context).contains(';'));
});
