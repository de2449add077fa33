//! Any text comes back as it was, and any bytes are survived.

use aiocontextvars::propagation::{MAX_BYTES, MAX_MEMBERS, Propagator};
use aiocontextvars::{Context, context_var};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{Message, NAME, NUMBER, OTHER, extract, inject, propagator};

context_var! { static LETTER: char; }

/// Bytes in which there is something to find.
fn headers() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let word = prop_oneof![
        Just(b"k".to_vec()),
        Just(b"n".to_vec()),
        Just(b"=".to_vec()),
        Just(b",".to_vec()),
        Just(b";".to_vec()),
        Just(b"%".to_vec()),
        Just(b"%41".to_vec()),
        Just(b" ".to_vec()),
        "[a-z]{1,3}=[a-z0-9]{0,3}(;[a-z]=[a-z])?,".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..6),
    ];
    vec(vec(word, 0..40).prop_map(|words| words.concat()), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_back(name: String, other in "\\PC{0,20}|[%=+,; \t\"\\\\]{0,20}", number: u64, letter: char) {
        let propagator = propagator().both("other", &OTHER).both("letter", &LETTER).max_len(4);
        let context = Context::new()
            .with_value(&NAME, name.clone())
            .with_value(&OTHER, other.clone())
            .with_value(&NUMBER, number)
            .with_value(&LETTER, letter);
        let header = inject(&propagator, &context);
        prop_assert!(header.bytes().all(|byte| byte.is_ascii_graphic()), "{header:?}");
        let received = extract(&propagator, &[header]);
        prop_assert_eq!(received.problems, []);
        prop_assert_eq!(received.context.get(&NAME), Some(&name));
        prop_assert_eq!(received.context.get(&OTHER), Some(&other));
        prop_assert_eq!(received.context.get(&NUMBER), Some(&number));
        prop_assert_eq!(received.context.get(&LETTER), Some(&letter));
    }

    #[test]
    fn what_is_passed_on_is_well_formed_and_does_not_change(headers in headers()) {
        let passes_on = propagator().pass_on();
        let first = extract(&passes_on, &headers);
        let mut sent = Message::default();
        prop_assert_eq!(passes_on.inject(&first.context, &mut sent), []);
        let text = sent.text();
        prop_assert!(text.len() <= MAX_BYTES);
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte)), "{text:?}");
        prop_assert!(text.is_empty() || text.split(',').count() <= MAX_MEMBERS);
        // Who receives that finds nothing wrong with it, and sends the same.
        let second = passes_on.extract(Context::new(), &sent);
        prop_assert_eq!(second.problems, []);
        prop_assert_eq!(second.context.get(&NAME), first.context.get(&NAME));
        prop_assert_eq!(inject(&passes_on, &second.context), text);
    }

    #[test]
    fn a_bad_neighbour_changes_nothing(headers in headers(), number: u64) {
        // The last one of a key counts, whatever was before it.
        let mut headers = headers;
        headers.truncate(2);
        headers.iter_mut().for_each(|header| header.truncate(200));
        headers.push(format!("n={number}").into_bytes());
        let only = Propagator::new().receive("n", &NUMBER);
        let received = extract(&only, &headers);
        let counted = headers.concat().split(|&byte| byte == b',').count() <= MAX_MEMBERS - 3;
        prop_assume!(counted);
        prop_assert_eq!(received.context.get(&NUMBER), Some(&number));
        prop_assert_eq!(received.context.len(), 1);
    }
}
