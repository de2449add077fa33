//! Log lines that know whose request they are about, wherever they come from.

use std::env;
use std::io;
use std::sync::LazyLock;

use aiocontextvars::Fields;
use aiocontextvars::bridge::tracing_subscriber::{Json, Text};
use tracing::Level;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::{format, layer};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Layer, Registry};

use crate::carrier::{PART, REQUEST_ID, TENANT};
use crate::spans;

/// What each line has of the code that logs.
static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::new()
        .with("request_id", &REQUEST_ID)
        .with("tenant", &TENANT)
        .with("part", &PART)
});

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Log {
    #[default]
    Text,
    Json,
}

impl Log {
    /// The error is a message.
    pub(crate) fn named(name: &str) -> Result<Log, String> {
        match name {
            "text" => Ok(Log::Text),
            "json" => Ok(Log::Json),
            _ => Err(format!("there is no log `{name}`; choose from text, json")),
        }
    }

    /// Logs to standard error what `RUST_LOG` asks for, warnings if it asks for nothing. The error
    /// is a message.
    pub(crate) fn init(self) -> Result<(), String> {
        let asked = env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
        let asked: Targets = asked
            .parse()
            .map_err(|error| format!("RUST_LOG is like `info,gateway=debug`: {error}"))?;
        let lines = match self {
            Log::Text => {
                let format = Text::new(format(), &FIELDS);
                let lines = layer().with_ansi(false).event_format(format);
                lines.with_writer(io::stderr).boxed()
            }
            Log::Json => {
                let format = Json::new(format().json().with_span_list(false), &FIELDS);
                let lines = layer().json().event_format(format);
                lines.with_writer(io::stderr).boxed()
            }
        };
        // Requests have spans whatever is logged: they are checked.
        let is_shown = filter_fn(move |metadata| {
            metadata.is_span() && *metadata.level() <= Level::INFO
                || asked.would_enable(metadata.target(), metadata.level())
        });
        Registry::default().with(lines).with(is_shown).init();
        spans::follow().map_err(|error| error.to_string())
    }
}
