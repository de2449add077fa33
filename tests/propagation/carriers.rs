//! The headers of messages, as programs have them.

use std::collections::HashMap;

use aiocontextvars::Context;
use aiocontextvars::propagation::{Extractor, Injector};

use crate::{NAME, NUMBER, propagator};

fn context() -> Context {
    let context = Context::new().with_value(&NAME, "x".to_owned());
    context.with_value(&NUMBER, 7)
}

fn all(carrier: &impl Extractor) -> Vec<&[u8]> {
    carrier.get_all("baggage").collect()
}

#[test]
fn a_map_has_one_header() {
    let mut map = HashMap::from([
        ("Baggage".to_owned(), "k=old".to_owned()),
        ("other".to_owned(), "y".to_owned()),
    ]);
    assert_eq!(all(&map), [b"k=old"]);
    assert_eq!(propagator().inject(&context(), &mut map), []);
    assert_eq!(map.len(), 2);
    assert_eq!(map["baggage"], "k=x,n=7");
    map.insert("BAGGAGE".to_owned(), "k=forged".to_owned());
    assert_eq!(all(&map), [b"k=x,n=7"]);
    map.remove("baggage");
    map.insert("Baggage".to_owned(), "k=z".to_owned());
    // Always the same one.
    assert_eq!(all(&map), [b"k=forged"]);
    assert!(all(&HashMap::<String, String>::new()).is_empty());
}

#[test]
fn a_list_has_as_many_as_there_are() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut list = vec![
        pair("Baggage", "k=1"),
        pair("other", "y"),
        pair("baggage", "k=2"),
    ];
    assert_eq!(all(&list), [b"k=1", b"k=2"]);
    assert_eq!(propagator().inject(&context(), &mut list), []);
    assert_eq!(list, [pair("other", "y"), pair("baggage", "k=x,n=7")]);
}

#[test]
fn nothing_is_set_where_there_is_nothing_to_send() {
    struct Refuses;
    impl Injector for Refuses {
        fn set(&mut self, name: &'static str, value: String) {
            panic!("{name}: {value}");
        }
    }
    assert_eq!(propagator().inject(&Context::new(), &mut Refuses), []);
}

#[cfg(feature = "http")]
#[test]
fn a_header_map_has_as_many_as_there_are() {
    use http::{HeaderMap, HeaderValue};

    let mut map = HeaderMap::new();
    map.append("baggage", HeaderValue::from_static("k=1"));
    map.append("baggage", HeaderValue::from_bytes(b"k=\xff").unwrap());
    map.append("baggage", HeaderValue::from_static("n=8"));
    assert_eq!(all(&map), [&b"k=1"[..], b"k=\xff", b"n=8"]);
    let received = propagator().extract(Context::new(), &map);
    assert_eq!(received.context.get(&NAME).unwrap(), "1");
    assert_eq!(received.context.get(&NUMBER), Some(&8));
    assert_eq!(received.problems.len(), 1);
    assert_eq!(propagator().inject(&context(), &mut map), []);
    assert_eq!(all(&map), [b"k=x,n=7"]);
}
