//! [`SpanFields`]: variables as fields of each span.

use ::tracing::callsite::{Callsite, Identifier};
use ::tracing::field::{FieldSet, Value};
use ::tracing::metadata::Kind;
use ::tracing::span::{Attributes, Id, Record};
use ::tracing::subscriber::Interest;
use ::tracing::{Level, Metadata, Subscriber};
use ::tracing_subscriber::Layer;
use ::tracing_subscriber::fmt::{FormatFields, FormattedFields};
use ::tracing_subscriber::layer::Context;
use ::tracing_subscriber::registry::LookupSpan;

use crate::fields::{FieldValue, Fields};

/// A layer that adds the variables to each span where it is made, as the format `N` keeps the
/// fields of spans.
///
/// So they are there for as long as the span is, and in what is written of it: of a request's span
/// a line has them by way of the span, as in `request{path="/" tenant="acme"}`. What is set later
/// is not. Lines of their own have the current values, by [`Text`](super::Text) and
/// [`Json`](super::Json).
///
/// A span that has a field of the same name keeps its own. Other layers do not see what is added.
///
/// # Examples
///
/// ```
/// use std::sync::LazyLock;
/// use aiocontextvars::bridge::tracing_subscriber::SpanFields;
/// use aiocontextvars::{Fields, context_var};
/// use tracing::{info, info_span};
/// use tracing_subscriber::fmt::{self, format::DefaultFields};
/// use tracing_subscriber::prelude::*;
///
/// context_var! { static TENANT: String; }
///
/// static FIELDS: LazyLock<Fields> = LazyLock::new(|| Fields::new().with("tenant", &TENANT));
///
/// // After the layer that writes; with `JsonFields` if that writes JSON.
/// let spans = SpanFields::new(DefaultFields::new(), &FIELDS);
/// tracing_subscriber::registry().with(fmt::layer()).with(spans).init();
/// TENANT.set("acme".to_owned());
/// // 2026-11-29T12:00:00.000000Z  INFO request{path="/" tenant="acme"}: my_crate: paid
/// info_span!("request", path = "/").in_scope(|| info!("paid"));
/// ```
#[derive(Debug)]
pub struct SpanFields<N> {
    format: N,
    fields: &'static Fields,
    /// The same names, as `tracing` knows them.
    names: FieldSet,
}

impl<N> SpanFields<N> {
    /// These fields, in spans whose fields are written by `format`: that of the layer that writes.
    ///
    /// The names are kept for the rest of the process, so this is for its start.
    ///
    /// # Panics
    ///
    /// If a field has a name that formats treat in a way of their own: `message`, which they write
    /// without quotes, and what begins with `log.` or `r#`.
    ///
    /// # Examples
    ///
    /// See [`SpanFields`].
    #[track_caller]
    pub fn new(format: N, fields: &'static Fields) -> SpanFields<N> {
        let is_special = |name: &&str| {
            *name == "message" || ["log.", "r#"].iter().any(|it| name.starts_with(it))
        };
        if let Some(name) = fields.names().find(is_special) {
            panic!("formats have a way of their own with `{name}`; give the field another name");
        }
        let names = Vec::leak(fields.names().collect());
        SpanFields {
            format,
            fields,
            names: FieldSet::new(names, Identifier(&ADDED)),
        }
    }
}

impl<S, N> Layer<S> for SpanFields<N>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let own = attributes.metadata().fields();
        let mut extensions = span.extensions_mut();
        if extensions.get_mut::<FormattedFields<N>>().is_none() {
            // The layer that writes comes later, and does not write them again.
            let mut written = FormattedFields::<N>::new(String::new());
            if self
                .format
                .format_fields(written.as_writer(), attributes)
                .is_err()
            {
                return;
            }
            extensions.insert(written);
        }
        let Some(written) = extensions.get_mut::<FormattedFields<N>>() else {
            return;
        };
        self.fields.for_each(|name, value| {
            if own.field(name).is_none() {
                self.add(written, name, value);
            }
        });
    }
}

impl<N: for<'a> FormatFields<'a> + 'static> SpanFields<N> {
    fn add(&self, written: &mut FormattedFields<N>, name: &str, value: FieldValue<'_>) {
        let text;
        let value: &dyn Value = match &value {
            FieldValue::U64(number) => number,
            FieldValue::I64(number) => number,
            FieldValue::U128(number) => number,
            FieldValue::I128(number) => number,
            FieldValue::F64(number) => number,
            FieldValue::Bool(truth) => truth,
            FieldValue::Str(text) => text,
            FieldValue::Display(value) => {
                text = value.to_string();
                &text
            }
        };
        if let Some(field) = self.names.field(name) {
            // What cannot be written is left out: there is nobody to be told.
            let _ = self.format.add_fields(
                written,
                &Record::new(&self.names.value_set(&[(&field, Some(value))])),
            );
        }
    }
}

/// Stands for where the names come from.
struct Added;

static ADDED: Added = Added;

static METADATA: Metadata<'static> = Metadata::new(
    "variables",
    module_path!(),
    Level::TRACE,
    None,
    None,
    None,
    FieldSet::new(&[], Identifier(&ADDED)),
    Kind::SPAN,
);

impl Callsite for Added {
    // It is not registered, and nobody asks.
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        &METADATA
    }
}
