//! `Propagator` among OpenTelemetry's.

use std::collections::HashMap;
use std::sync::LazyLock;

use aiocontextvars::{Context, context_var, propagation};
use aiocontextvars_opentelemetry::{Propagator, received};
use opentelemetry::Context as OtelContext;
use opentelemetry::baggage::{BaggageExt, KeyValueMetadata};
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};

context_var! {
    static TENANT: String;
    static REQUEST_ID: u64;
    static SECRET: String;
}

static OURS: LazyLock<propagation::Propagator> = LazyLock::new(|| {
    propagation::Propagator::new()
        .both("tenant", &TENANT)
        .both("request-id", &REQUEST_ID)
        .send("secret", &SECRET)
});

static PASSES_ON: LazyLock<propagation::Propagator> = LazyLock::new(|| {
    propagation::Propagator::new()
        .both("tenant", &TENANT)
        .pass_on()
});

type Headers = HashMap<String, String>;

fn composite() -> TextMapCompositePropagator {
    TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
        Box::new(Propagator(&OURS)),
    ])
}

fn headers(baggage: &str) -> Headers {
    Headers::from([("baggage".to_owned(), baggage.to_owned())])
}

fn span() -> OtelContext {
    OtelContext::new().with_remote_span_context(SpanContext::new(
        TraceId::from(7),
        SpanId::from(9),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    ))
}

fn baggage(members: &[(&str, &str, &str)]) -> OtelContext {
    let members = members.iter();
    span().with_baggage(members.map(|&(key, value, metadata)| {
        KeyValueMetadata::new(key.to_owned(), value.to_owned(), metadata)
    }))
}

/// What `propagator` writes for this baggage, in a context with the variables that `f` sets.
fn injected(propagator: &impl TextMapPropagator, cx: &OtelContext, f: impl FnOnce()) -> Headers {
    let mut headers = Headers::new();
    Context::new().run(|| {
        f();
        propagator.inject_context(cx, &mut headers);
    });
    headers
}

#[test]
fn there_and_back_in_a_composite() {
    let sent = injected(&composite(), &baggage(&[("user", "ann", "")]), || {
        TENANT.set("Käse & Co, 100%=x".to_owned());
        REQUEST_ID.set(7);
    });
    assert!(sent.contains_key("traceparent"), "{sent:?}");
    assert_eq!(
        sent["baggage"],
        "tenant=K%C3%A4se%20&%20Co%2C%20100%25%3Dx,request-id=7,user=ann"
    );
    let cx = composite().extract_with_context(&OtelContext::new(), &sent);
    assert_eq!(cx.span().span_context().trace_id(), TraceId::from(7));
    let extracted = received(&cx).unwrap();
    assert_eq!(extracted.context.get(&TENANT).unwrap(), "Käse & Co, 100%=x");
    assert_eq!(extracted.context.get(&REQUEST_ID), Some(&7));
    // OpenTelemetry's baggage has all of them.
    assert_eq!(cx.baggage().get("user").unwrap().as_str(), "ann");
    assert_eq!(
        cx.baggage().get("tenant").unwrap().as_str(),
        "Käse & Co, 100%=x"
    );
    // `user` is not ours, and that is said.
    assert_eq!(extracted.problems.len(), 1);
    assert_eq!(
        composite()
            .fields()
            .filter(|field| *field == "baggage")
            .count(),
        1
    );
}

#[test]
fn each_reads_what_the_other_writes() {
    let theirs = BaggagePropagator::new();
    let sent = injected(&theirs, &baggage(&[("tenant", "a b,c;d=e", "")]), || {});
    let cx = Propagator(&OURS).extract_with_context(&OtelContext::new(), &sent);
    assert_eq!(
        received(&cx).unwrap().context.get(&TENANT).unwrap(),
        "a b,c;d=e"
    );

    let sent = injected(&Propagator(&OURS), &OtelContext::new(), || {
        TENANT.set("a b,c;d=e\"%\\+ü".to_owned());
    });
    let cx = theirs.extract_with_context(&OtelContext::new(), &sent);
    assert_eq!(
        cx.baggage().get("tenant").unwrap().as_str(),
        "a b,c;d=e\"%\\+ü"
    );
}

#[test]
fn a_listed_key_speaks_for_its_variable_only() {
    // What came in, in OpenTelemetry's baggage, and what is true here.
    let cx = baggage(&[
        ("tenant", "forged", ""),
        ("secret", "forged", ""),
        ("user", "ann", ""),
    ]);
    let sent = injected(&composite(), &cx, || {
        TENANT.set("acme".to_owned());
    });
    assert_eq!(sent["baggage"], "tenant=acme,user=ann");
    let sent = injected(&Propagator(&OURS), &cx, || {});
    assert_eq!(sent["baggage"], "user=ann");
    // One that is only sent is not believed.
    let cx = composite().extract_with_context(&OtelContext::new(), &headers("secret=forged"));
    assert_eq!(received(&cx).unwrap().context.get(&SECRET), None);
}

#[test]
fn passed_on_members_are_there_once() {
    let ours = Propagator(&PASSES_ON);
    let cx = BaggagePropagator::new()
        .extract_with_context(&OtelContext::new(), &headers("a=1;p=q,tenant=acme,b=2"));
    let cx = ours.extract_with_context(&cx, &headers("a=1;p=q,tenant=acme,b=2"));
    let mut handler = received(&cx).unwrap().context.clone();
    let mut sent = Headers::new();
    handler.run(|| ours.inject_context(&cx, &mut sent));
    assert_eq!(sent["baggage"], "tenant=acme,a=1;p=q,b=2");
}

#[test]
fn what_is_no_baggage_is_left_out() {
    let long = "x".repeat(8180);
    let cx = baggage(&[
        ("a", "1", "p=q;r"),
        ("b", "\u{0}\r\n", "x\r\ny"),
        ("c", &long, ""),
    ]);
    let sent = injected(&Propagator(&OURS), &cx, || {
        TENANT.set("acme".to_owned());
    });
    assert_eq!(sent["baggage"], "tenant=acme,a=1;p=q;r,b=%00%0D%0A");
    let sent = injected(&Propagator(&OURS), &OtelContext::new(), || {});
    assert!(sent.is_empty());
}

#[test]
fn properties_that_are_none_are_left_out_and_their_members_stand() {
    let cx = baggage(&[
        (
            "a",
            "1",
            "p q; r = s%20t ;;t=%zz;u=%4;v=\"x\";w=\u{a0};=y;z",
        ),
        ("b", "2", "p q"),
    ]);
    let sent = injected(&Propagator(&PASSES_ON), &cx, || {});
    assert_eq!(sent["baggage"], "a=1;r = s%20t;z,b=2");
    // Whoever receives that finds nothing wrong with it.
    let cx = Propagator(&PASSES_ON).extract_with_context(&OtelContext::new(), &sent);
    assert_eq!(received(&cx).unwrap().problems, []);
}

#[test]
fn at_most_64_members() {
    let names: Vec<String> = (0..64).map(|n| format!("k{n:02}")).collect();
    let members: Vec<_> = names.iter().map(|name| (name.as_str(), "1", "")).collect();
    let sent = injected(&Propagator(&OURS), &baggage(&members), || {
        TENANT.set("acme".to_owned());
    });
    let sent: Vec<_> = sent["baggage"].split(',').collect();
    assert_eq!(
        (sent.len(), sent[0], sent[63]),
        (64, "tenant=acme", "k62=1")
    );
}

#[test]
fn bad_input_is_left_out_and_told() {
    let cx = Propagator(&OURS).extract_with_context(
        &OtelContext::new(),
        &headers("tenant=acme,request-id=seven,=,x"),
    );
    let extracted = received(&cx).unwrap();
    assert_eq!(extracted.context.get(&TENANT).unwrap(), "acme");
    assert_eq!(
        (extracted.context.get(&REQUEST_ID), extracted.problems.len()),
        (None, 3)
    );
}

#[test]
fn a_message_has_no_values_of_whoever_reads_it() {
    Context::new().run(|| {
        TENANT.set("globex".to_owned());
        REQUEST_ID.set(1);
        let cx = Propagator(&OURS).extract_with_context(&span(), &headers("request-id=7"));
        let context = &received(&cx).unwrap().context;
        assert_eq!((context.get(&REQUEST_ID), context.len()), (Some(&7), 1));
        assert!(cx.has_active_span() && received(&OtelContext::new()).is_none());
        // Where they are meant to be added.
        context.apply();
        assert_eq!(
            (TENANT.get().as_deref(), REQUEST_ID.get()),
            (Some("globex"), Some(7))
        );
    });
}
