//! `Fields`: variables as fields of log records.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};

use aiocontextvars::{Context, Fields, context_var, copy_context};

context_var! {
    static ID: u64;
    static TENANT: String = "public".to_owned();
    static RATIO: f32;
    static RETRIES: NonZeroU32;
    static OFFSET: Arc<i8>;
    static ADMIN: bool;
    static MARK: char;
    static LOGS: Logs;
    static REGION: &'static str;
}

static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::new()
        .with("id", &ID)
        .with("tenant", &TENANT)
        .with("ratio", &RATIO)
        .with("retries", &RETRIES)
        .with("offset", &OFFSET)
        .with("admin", &ADMIN)
        .with("mark", &MARK)
        .display("logs", &LOGS)
        .with("region", &REGION)
});

/// Logs while it is shown.
#[derive(Clone)]
struct Logs;

impl fmt::Display for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", line())
    }
}

fn line() -> String {
    let mut line = Vec::new();
    FIELDS.for_each(|name, value| line.push(format!("{name}={value}")));
    line.join(" ")
}

#[test]
fn those_that_have_a_value_in_their_order() {
    Context::new().run(|| {
        assert_eq!(line(), r#"tenant="public""#);
        REGION.set("eu");
        RATIO.set(0.5);
        RETRIES.set(NonZeroU32::MIN);
        OFFSET.set(Arc::new(-3));
        ADMIN.set(true);
        MARK.set('\n');
        ID.set(7);
        let expected = r#"id=7 tenant="public" ratio=0.5 retries=1 offset=-3 admin=true mark="\n" region="eu""#;
        assert_eq!(line(), expected);
        ID.unset();
        assert!(line().starts_with("tenant"));
    });
}

#[test]
fn a_value_that_logs_while_it_is_shown_is_not_shown_again() {
    Context::new().run(|| {
        ID.set(1);
        LOGS.set(Logs);
        assert_eq!(
            line(),
            r#"id=1 tenant="public" logs="<id=1 tenant=\"public\">""#
        );
    });
}

#[test]
fn what_is_called_may_use_the_crate() {
    Context::new().run(|| {
        ID.set(1);
        let mut seen = Vec::new();
        FIELDS.for_each(|name, value| {
            TENANT.set("other".to_owned());
            ID.set(2);
            seen.push((name, value.to_string(), copy_context().get(&ID).copied()));
        });
        let expected = [
            ("id", "1".to_owned(), Some(2)),
            ("tenant", r#""other""#.to_owned(), Some(2)),
        ];
        assert_eq!(seen, expected);
    });
}

#[test]
#[should_panic(expected = "there is a field `id` already")]
fn a_name_twice() {
    let _ = Fields::new().with("id", &ID).with("id", &TENANT);
}

#[test]
fn names_that_would_be_more_than_one_word() {
    for name in ["", "a b", "a=b", "a\"b", "a\nb", "a\u{2028}b"] {
        let listed = std::panic::catch_unwind(|| Fields::new().with(name, &ID));
        assert!(listed.is_err(), "{name:?}");
    }
    assert_eq!(
        format!("{:?}", Fields::new().with("a.b-c_d", &ID)),
        r#"{"a.b-c_d"}"#
    );
}
