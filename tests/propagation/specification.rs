//! The examples and requirements of W3C Baggage, and the cases of its working group's tests, in
//! this crate's terms: keys that are listed are values, and all others are passed on as they are,
//! without optional whitespace.

use aiocontextvars::Context;
use aiocontextvars::propagation::Propagator;

use crate::{LOCALE, NAME, NUMBER, OTHER, extract, inject, propagator};

/// What is left of headers whose members are all passed on.
#[track_caller]
fn passed_on(headers: &[&str]) -> String {
    let passes_on = Propagator::new().pass_on();
    let received = extract(&passes_on, headers);
    assert_eq!(received.problems, []);
    inject(&passes_on, &received.context)
}

/// The value of `k`.
#[track_caller]
fn value(member: &str) -> String {
    let received = extract(&propagator(), &[member]);
    assert_eq!(received.problems, [], "{member}");
    received.context.get(&NAME).unwrap().clone()
}

#[test]
fn members_and_properties_are_told_apart() {
    for (header, expected) in [
        ("SomeKey=SomeValue", "SomeKey=SomeValue"),
        (
            "SomeKey=SomeValue;SomeProp,SomeKey2=SomeValue2;ValueProp=PropVal",
            "SomeKey=SomeValue;SomeProp,SomeKey2=SomeValue2;ValueProp=PropVal",
        ),
        (
            "SomeKey \t = \t SomeValue \t ; \t SomeProp \t , \t SomeKey2 \t = \t SomeValue2 \t ; \t P \t = \t V",
            "SomeKey=SomeValue;SomeProp,SomeKey2=SomeValue2;P=V",
        ),
        ("a=1;p;q=2;r", "a=1;p;q=2;r"),
        ("a=1;p=x=y", "a=1;p=x=y"),
        (
            "key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue",
            "key1=value1;property1;property2,key2=value2,key3=value3;propertyKey=propertyValue",
        ),
        ("userId =   alice", "userId=alice"),
        ("a=", "a="),
        // Recipients of lists ignore what is empty in them (RFC 7230, section 7).
        (",, a=1 ,\t, b=2,", "a=1,b=2"),
        ("a=1;;p;", "a=1;p"),
    ] {
        assert_eq!(passed_on(&[header]), expected, "{header:?}");
    }
}

#[test]
fn several_headers_are_one_list() {
    let headers = ["userId=alice", "serverNode=DF%2028, isProduction = false"];
    assert_eq!(
        passed_on(&headers),
        "userId=alice,serverNode=DF%2028,isProduction=false"
    );
    let received = extract(&propagator(), &["k=alice", "n=7"]);
    assert_eq!(received.context.get(&NAME).unwrap(), "alice");
    assert_eq!(received.context.get(&NUMBER), Some(&7));
}

#[test]
fn duplicates_of_others_keep_their_order() {
    assert_eq!(passed_on(&["a=1,b=2", "a=3;p,a=1"]), "a=1,b=2,a=3;p,a=1");
}

#[test]
fn of_several_values_the_last_counts() {
    let received = extract(&propagator(), &["n=1,k=x,n=2", "n=3"]);
    assert_eq!(
        (received.context.get(&NUMBER), received.problems),
        (Some(&3), vec![])
    );
}

#[test]
fn a_second_equals_sign_belongs_to_the_value() {
    assert_eq!(value("k=SomeValue=equals"), "SomeValue=equals");
    assert_eq!(value("k==="), "==");
    assert_eq!(passed_on(&["a=b=c;p=d=e"]), "a=b=c;p=d=e");
}

#[test]
fn values_are_percent_encoded() {
    let text = "\t \"';=asdf!@#$%^&*()";
    let member = "k=%09%20%22%27%3B%3Dasdf%21%40%23%24%25%5E%26%2A%28%29";
    assert_eq!(value(member), text);
    assert_eq!(
        value("k \t = \t %09%20%22%27%3B%3Dasdf!@#$%25^&*() \t "),
        text
    );
    // As it is sent, too, with all that must be encoded and what others take for something else.
    let context = Context::new().with_value(&NAME, text.to_owned());
    assert_eq!(
        inject(&propagator(), &context),
        "k=%09%20%22'%3B%3Dasdf!@#$%25^&*()"
    );
    // Hexadecimal digits in either case.
    assert_eq!(value("k=%c3%A4"), "ä");
    // `+` is itself.
    assert_eq!(value("k=a+b"), "a+b");
}

#[test]
fn percent_signs_survive() {
    for text in ["100%", "100%25", "%", "%%", "%41", "a%2", "%zz"] {
        let context = Context::new().with_value(&NAME, text.to_owned());
        let header = inject(&propagator(), &context);
        assert_eq!(value(&header), text, "{header}");
    }
}

#[test]
fn a_value_may_be_empty() {
    let context = Context::new().with_value(&NAME, String::new());
    assert_eq!(inject(&propagator(), &context), "k=");
    assert_eq!(value("k="), "");
}

#[test]
fn properties_of_a_value_are_ignored() {
    assert_eq!(
        value("k=SomeValue;SomeProp;SecondProp=PropValue"),
        "SomeValue"
    );
    assert_eq!(
        value("k \t = \t SomeValue \t ; \t SomeProp \t "),
        "SomeValue"
    );
}

#[test]
fn what_is_not_bound_is_not_sent() {
    let propagator = propagator().both("locale", &LOCALE);
    assert_eq!(inject(&propagator, &Context::new()), "");
    // A default is none of the context's values.
    let context = Context::new().with_value(&NUMBER, 7);
    assert_eq!(inject(&propagator, &context), "n=7");
    let context = context.with_value(&LOCALE, "de".to_owned());
    assert_eq!(inject(&propagator, &context), "n=7,locale=de");
}

#[test]
fn own_members_come_first_in_the_order_in_which_they_were_listed() {
    let propagator = propagator().pass_on();
    let received = extract(&propagator, &["a=1,n=7,b=2,k=x,c=3"]);
    assert_eq!(received.problems, []);
    assert_eq!(
        inject(&propagator, &received.context),
        "k=x,n=7,a=1,b=2,c=3"
    );
    let context = received.context.with_value(&NUMBER, 8).without(&NAME);
    assert_eq!(inject(&propagator, &context), "n=8,a=1,b=2,c=3");
}

#[test]
fn a_variable_goes_in_the_directions_that_it_is_listed_for() {
    let edge = Propagator::new()
        .send("k", &NAME)
        .send("n", &NUMBER)
        .pass_on();
    let base = Context::new().with_value(&NAME, "mine".to_owned());
    let forged = crate::Message::of(&["k=forged,n=666,a=1"]);
    let received = edge.extract(base, &forged);
    assert_eq!(received.context.get(&NAME).unwrap(), "mine");
    assert_eq!(received.context.get(&NUMBER), None);
    assert_eq!(received.problems.len(), 2);
    // What was not believed is not passed on either.
    assert_eq!(inject(&edge, &received.context), "k=mine,a=1");

    let takes = Propagator::new().receive("k", &NAME);
    let received = extract(&takes, &["k=x"]);
    assert_eq!(received.context.get(&NAME).unwrap(), "x");
    assert_eq!(inject(&takes, &received.context), "");

    // Sent from one variable, and received into another.
    let crosses = Propagator::new().send("k", &NAME).receive("k", &OTHER);
    let received = extract(&crosses, &["k=x"]);
    assert_eq!(received.problems, []);
    assert_eq!(received.context.get(&OTHER).unwrap(), "x");
    let context = received.context.with_value(&NAME, "y".to_owned());
    assert_eq!(inject(&crosses, &context), "k=y");
}

#[test]
fn members_of_others_stay_with_their_message() {
    let passes_on = Propagator::new().pass_on();
    let first = extract(&passes_on, &["a=1"]).context;
    assert_eq!(inject(&passes_on, &first), "a=1");
    // Not by one that does not pass on, and its own keys not twice.
    assert_eq!(inject(&propagator(), &first), "");
    let knows_it = Propagator::new().both("a", &NUMBER).pass_on();
    assert_eq!(inject(&knows_it, &first), "");
    assert_eq!(
        inject(&knows_it, &first.clone().with_value(&NUMBER, 2)),
        "a=2"
    );
    // A message without any, received into a context that has some.
    let second = passes_on.extract(first, &crate::Message::default());
    assert_eq!(inject(&passes_on, &second.context), "");
    assert!(second.context.is_empty());
}

#[test]
fn functions_of_ones_own_encode_and_decode() {
    let propagator = Propagator::new().with_codec(
        "list",
        &NAME,
        |text| Some(format!("<{text}>")),
        |text| Some(text.strip_prefix('<')?.strip_suffix('>')?.to_owned()),
    );
    let context = Context::new().with_value(&NAME, "a,b;c=d".to_owned());
    let header = inject(&propagator, &context);
    assert_eq!(header, "list=<a%2Cb%3Bc%3Dd>");
    let received = extract(&propagator, &[header]);
    assert_eq!(received.context.get(&NAME).unwrap(), "a,b;c=d");
}
