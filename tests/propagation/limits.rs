//! 64 members and 8192 bytes, and the length of one value.

use crate::leak::leak;
use aiocontextvars::propagation::{MAX_BYTES, MAX_MEMBERS, ProblemKind, Propagator};
use aiocontextvars::{Context, ContextVar};

use crate::{Message, NAME, NUMBER, extract, inject, kinds, propagator};

fn named(text: String) -> Context {
    Context::new().with_value(&NAME, text)
}

#[test]
fn there_are_64_members() {
    let all: Vec<_> = (0..MAX_MEMBERS).map(|n| format!("key{n}=value")).collect();
    let passes_on = Propagator::new().pass_on();
    let received = extract(&passes_on, &[all.join(",")]);
    assert_eq!(received.problems, []);
    assert_eq!(inject(&passes_on, &received.context), all.join(","));
}

#[test]
fn members_beyond_the_64th_are_left_out() {
    let headers: Vec<_> = (0..100).map(|n| format!("key{n}=value")).collect();
    let passes_on = propagator().pass_on();
    let received = extract(&passes_on, &headers);
    assert_eq!(received.problems.len(), 36);
    let expected = [(Some("key64"), ProblemKind::TooManyMembers)];
    assert_eq!(kinds(&received.problems[..1]), expected);
    assert_eq!(
        inject(&passes_on, &received.context),
        headers[..64].join(",")
    );

    // The own ones come first.
    let context = received.context.with_value(&NUMBER, 7);
    let mut message = Message::default();
    let problems = passes_on.inject(&context, &mut message);
    assert_eq!(
        kinds(&problems),
        [(Some("key63"), ProblemKind::TooManyMembers)]
    );
    assert_eq!(message.text(), format!("n=7,{}", headers[..63].join(",")));
}

#[test]
fn a_propagator_lists_64_variables_and_sends_them_all() {
    let mut propagator = Propagator::new();
    let mut context = Context::new();
    let mut expected = Vec::new();
    for n in 0..MAX_MEMBERS {
        let key: &'static str = leak(format!("key{n}"));
        let var: &'static ContextVar<usize> = leak(ContextVar::new(key));
        propagator = propagator.both(key, var);
        context = context.with_value(var, n);
        expected.push(format!("{key}={n}"));
    }
    assert_eq!(inject(&propagator, &context), expected.join(","));
}

#[test]
fn there_are_8192_bytes() {
    let longest = MAX_BYTES - "k=".len();
    let propagator = Propagator::new().both("k", &NAME).max_len(longest + 1);
    let text = "0123456789".repeat(longest.div_ceil(10))[..longest].to_owned();
    let header = inject(&propagator, &named(text.clone()));
    assert_eq!(header.len(), MAX_BYTES);
    let received = extract(&propagator, &[header]);
    assert_eq!(received.context.get(&NAME), Some(&text));

    // One more is too much, as a whole.
    let mut message = Message::default();
    let problems = propagator.inject(&named(text + "x"), &mut message);
    assert_eq!(kinds(&problems), [(Some("k"), ProblemKind::TooManyBytes)]);
    assert_eq!(message, Message::default());
}

#[test]
fn commas_count() {
    let fits = |bytes: usize| {
        let header = format!("a={},n=7", "x".repeat(bytes - "a=,n=7".len()));
        assert_eq!(header.len(), bytes);
        let received = extract(&propagator().pass_on(), &[header]);
        (
            received.context.get(&NUMBER).copied(),
            received.problems.len(),
        )
    };
    assert_eq!(fits(MAX_BYTES), (Some(7), 0));
    assert_eq!(fits(MAX_BYTES + 1), (None, 1));
}

#[test]
fn what_is_too_large_leaves_the_rest() {
    let huge = format!("huge={}", "x".repeat(12_000));
    let passes_on = propagator().pass_on();
    for headers in [
        vec![format!("n=7,{huge},a=1,k=x")],
        vec!["n=7,a=1".into(), huge, "k=x".into()],
    ] {
        let received = extract(&passes_on, &headers);
        assert_eq!(
            kinds(&received.problems),
            [(Some("huge"), ProblemKind::TooManyBytes)]
        );
        assert_eq!(inject(&passes_on, &received.context), "k=x,n=7,a=1");
    }
}

#[test]
fn what_is_sent_has_room_for_the_own_members() {
    let others = vec![format!("a={}", "x".repeat(8000)), "b=1".to_owned()];
    let passes_on = propagator().pass_on();
    let context = extract(&passes_on, &others).context;
    let context = context.with_value(&NAME, "y".repeat(500));
    let mut message = Message::default();
    let problems = passes_on.inject(&context, &mut message);
    assert_eq!(kinds(&problems), [(Some("a"), ProblemKind::TooManyBytes)]);
    assert_eq!(message.text(), format!("k={},b=1", "y".repeat(500)));
}

#[test]
fn a_value_has_1024_bytes_unless_said_otherwise() {
    let propagator = propagator();
    // Bytes of the value, however many it takes to encode them.
    let text = "ä".repeat(512);
    let header = inject(&propagator, &named(text.clone()));
    let received = extract(&propagator, &[&header]);
    assert_eq!(received.context.get(&NAME), Some(&text));

    let received = extract(&propagator, &[format!("{header}x,n=7")]);
    assert_eq!(
        kinds(&received.problems),
        [(Some("k"), ProblemKind::ValueTooLong)]
    );
    assert_eq!(
        (received.context.get(&NAME), received.context.get(&NUMBER)),
        (None, Some(&7))
    );

    let mut message = Message::default();
    let context = named(text + "x").with_value(&NUMBER, 7);
    let problems = propagator.inject(&context, &mut message);
    assert_eq!(kinds(&problems), [(Some("k"), ProblemKind::ValueTooLong)]);
    assert_eq!(message.text(), "n=7");
}

#[test]
fn max_len_is_that_of_the_last_one() {
    let propagator = Propagator::new()
        .both("k", &NAME)
        .max_len(3)
        .both("n", &NUMBER);
    let received = extract(&propagator, &["k=abc,n=123456"]);
    assert_eq!(received.problems, []);
    let received = extract(&propagator, &["k=abcd"]);
    assert_eq!(
        kinds(&received.problems),
        [(Some("k"), ProblemKind::ValueTooLong)]
    );
}

#[test]
fn problems_are_limited() {
    let headers = vec!["x".repeat(3) + ","; 100_000];
    let received = extract(&propagator(), &headers);
    assert_eq!(received.problems.len(), 128);
}
