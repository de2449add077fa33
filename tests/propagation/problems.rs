//! Bad input: the member is left out and reported, and the others stand.

use std::fmt;
use std::panic;

use crate::leak::leak;
use aiocontextvars::propagation::ProblemKind::{self, Encoding, Malformed, NotReceived, Value};
use aiocontextvars::propagation::Propagator;
use aiocontextvars::{Context, ContextVar, context_var};

use crate::{Message, NAME, NUMBER, extract, inject, kinds, propagator};

const GIVEAWAY: &str = "s3cret";

/// Members that are none, whether they are listed or passed on. `#` is their key.
const BAD: &[(&[u8], Option<ProblemKind>)] = &[
    (b"#=s3cret s3cret", Some(Malformed)),
    (b"#=\"s3cret\"", Some(Malformed)),
    (b"#=s3cret\\", Some(Malformed)),
    (b"#=s3cret\0", Some(Malformed)),
    (b"#=s3cret\r\nevil: 1", Some(Malformed)),
    (b"#=s3cret\x7f", Some(Malformed)),
    (b"#=s3cret;", None),
    (b"#=s3cret;p q", Some(Malformed)),
    (b"#=s3cret;=q", Some(Malformed)),
    (b"#=s3cret;p=\0", Some(Malformed)),
    (b"#=s3cret;p=\xff", Some(Encoding)),
    (b"#=s3cret;p=%", Some(Encoding)),
    ("#=s3crät".as_bytes(), Some(Malformed)),
    (b"#=s3cret\xff", Some(Encoding)),
    (b"#=s3cret%", Some(Encoding)),
    (b"#=s3cret%2", Some(Encoding)),
    (b"#=s3cret%zz", Some(Encoding)),
    (b"#=s3cret%+1", Some(Encoding)),
    (b"#=%%41s3cret", Some(Encoding)),
];

/// The member with a key, between two others.
fn around(key: &str, member: &[u8]) -> Vec<u8> {
    let member = match member.strip_prefix(b"#") {
        Some(rest) => [key.as_bytes(), rest].concat(),
        None => member.to_vec(),
    };
    [b"n=7, ", member.as_slice(), b" ,a=1"].concat()
}

#[test]
fn a_bad_member_is_left_out_and_the_others_stand() {
    let passes_on = propagator().pass_on();
    for key in ["k", "b"] {
        for (member, kind) in BAD {
            let header = around(key, member);
            let shown = String::from_utf8_lossy(&header);
            let received = extract(&passes_on, &[&header]);
            let expected: Vec<_> = kind.iter().map(|kind| (Some(key), *kind)).collect();
            assert_eq!(kinds(&received.problems), expected, "{shown:?}");
            assert_eq!(received.context.get(&NUMBER), Some(&7), "{shown:?}");
            if kind.is_some() {
                assert_eq!(received.context.get(&NAME), None, "{shown:?}");
                assert_eq!(
                    inject(&passes_on, &received.context),
                    "n=7,a=1",
                    "{shown:?}"
                );
            }
            for problem in &received.problems {
                let text = format!("{problem} {problem:?}");
                assert!(text.contains(key) && !text.contains("s3cr"), "{text}");
            }
        }
    }
}

#[test]
fn what_has_no_key_is_not_shown() {
    for member in [
        "s3cret",
        "s3cret;p=q",
        "=s3cret",
        "s3 cret=1",
        "s3cret\0=1",
        "(s3cret)=1",
    ] {
        let received = extract(&propagator().pass_on(), &[around("", member.as_bytes())]);
        assert_eq!(kinds(&received.problems), [(None, Malformed)], "{member:?}");
        let text = format!("{received:?} {}", received.problems[0]);
        assert!(!text.contains("s3"), "{text}");
        assert_eq!(received.context.get(&NUMBER), Some(&7));
    }
}

#[test]
fn a_value_that_is_no_utf_8_or_does_not_parse_is_left_out() {
    for (header, kind) in [
        ("k=%ff,n=7", Encoding),
        ("k=%c3,n=7", Encoding),
        ("k=%ed%a0%80,n=7", Encoding),
    ] {
        let received = extract(&propagator(), &[header]);
        assert_eq!(kinds(&received.problems), [(Some("k"), kind)], "{header}");
        assert_eq!(
            (received.context.get(&NAME), received.context.get(&NUMBER)),
            (None, Some(&7))
        );
    }
    for value in ["x", "-1", "", "1.0", "%20", "99999999999999999999"] {
        let received = extract(&propagator(), &[format!("n={value},k=x")]);
        assert_eq!(kinds(&received.problems), [(Some("n"), Value)], "{value:?}");
        let text = received.problems[0].to_string();
        assert_eq!(
            text,
            "the baggage member `n` was left out: its value does not parse as its variable's type"
        );
        assert_eq!(
            (received.context.get(&NUMBER), received.context.len()),
            (None, 1)
        );
    }
}

#[test]
fn a_bad_duplicate_leaves_the_good_one() {
    let received = extract(&propagator(), &["n=7,n=x"]);
    assert_eq!(kinds(&received.problems), [(Some("n"), Value)]);
    assert_eq!(received.context.get(&NUMBER), Some(&7));
}

#[test]
fn a_key_that_is_not_received_is_reported() {
    let received = extract(&propagator(), &["a=s3cret,n=7,N=8"]);
    let expected = [(Some("a"), NotReceived), (Some("N"), NotReceived)];
    assert_eq!(kinds(&received.problems), expected);
    assert_eq!(received.context.get(&NUMBER), Some(&7));
    let sends = Propagator::new().send("n", &NUMBER);
    assert_eq!(
        kinds(&extract(&sends, &["n=7"]).problems),
        [(Some("n"), NotReceived)]
    );
}

#[test]
fn a_long_key_is_cut_off() {
    let key = "x".repeat(5000);
    let received = extract(&propagator(), &[format!("{key}=1")]);
    assert_eq!(received.problems[0].member().unwrap().len(), 128);
}

#[test]
fn a_problem_keeps_what_the_base_has() {
    let base = Context::new().with_value(&NUMBER, 1);
    let received = propagator().extract(base, &Message::of(&["n=x"]));
    assert_eq!(received.context.get(&NUMBER), Some(&1));
}

#[test]
fn a_value_that_cannot_be_encoded_is_left_out() {
    #[derive(Clone)]
    struct Broken;
    impl fmt::Display for Broken {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(GIVEAWAY)?;
            Err(fmt::Error)
        }
    }
    /// Goes on after an error.
    #[derive(Clone)]
    struct Stubborn;
    impl fmt::Display for Stubborn {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let _ = f.write_str(&GIVEAWAY.repeat(1000));
            f.write_str("x")
        }
    }
    context_var! { static BROKEN: Broken; static STUBBORN: Stubborn; }

    let propagator = propagator()
        .send("broken", &BROKEN)
        .send("stubborn", &STUBBORN)
        .with_codec("none", &NAME, |_| None, |_| None);
    let context = Context::new()
        .with_value(&NUMBER, 7)
        .with_value(&BROKEN, Broken)
        .with_value(&STUBBORN, Stubborn)
        .with_value(&NAME, GIVEAWAY.to_owned());
    let mut message = Message::default();
    let problems = propagator.inject(&context, &mut message);
    let expected = [
        (Some("broken"), Value),
        (Some("stubborn"), ProblemKind::ValueTooLong),
        (Some("none"), Value),
    ];
    assert_eq!(kinds(&problems), expected);
    for problem in [&problems[0], &problems[2]] {
        let text = problem.to_string();
        assert!(text.contains("could not be written"), "{text}");
    }
    assert_eq!(message.text(), format!("k={GIVEAWAY},n=7"));
    assert!(!format!("{problems:?}").contains(GIVEAWAY));
}

#[test]
fn a_value_that_panics_where_it_is_written_sets_nothing() {
    struct Panics;
    impl fmt::Display for Panics {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("no text");
        }
    }
    context_var! { static PANICS: Panics; }

    let propagator = propagator().send("panics", &PANICS);
    let context = Context::new().with_value(&NUMBER, 7);
    let context = context.with_value(&PANICS, Panics);
    let mut message = Message::of(&["before"]);
    let inject = panic::AssertUnwindSafe(|| propagator.inject(&context, &mut message));
    assert!(panic::catch_unwind(inject).is_err());
    assert_eq!(message, Message::of(&["before"]));
}

#[test]
fn mistakes_of_the_program_are_found_when_the_propagator_is_made() {
    let message = |make: fn() -> Propagator| {
        let panic = panic::catch_unwind(make).unwrap_err();
        *panic.downcast::<String>().unwrap()
    };
    for key in [
        "", " k", "k ", "a b", "a=b", "a,b", "a;b", "a\"b", "a/b", "ä", "a\0", "(a)", "a\\",
    ] {
        let key: &'static str = key;
        let panic = panic::catch_unwind(|| Propagator::new().both(key, &NAME)).unwrap_err();
        let text = panic.downcast::<String>().unwrap();
        assert!(text.contains(key) && text.contains("token"), "{text}");
    }
    let text = message(|| propagator().send("k", &NAME));
    assert!(text.contains("`k` is listed twice"), "{text}");
    let text = message(|| propagator().receive("k", &NAME));
    assert!(text.contains("`k` is listed twice"), "{text}");
    let text = message(|| {
        let leaked = |n| -> &'static str { leak(format!("key{n}")) };
        let var: &'static ContextVar<u8> = leak(ContextVar::new("var"));
        (0..65).fold(Propagator::new(), |all, n| all.both(leaked(n), var))
    });
    assert!(text.contains("`key64` is one too many"), "{text}");
    assert!(message(|| Propagator::new().max_len(1)).contains("`max_len`"));
    // All that a token may have.
    _ = Propagator::new().both("!#$%&'*+-.^_`|~09azAZ", &NAME);
}
