//! Log lines that know whose request they are about, wherever they come from.

use std::io::Write;

use crate::carrier::{Carrier, Seen};

/// Logs to standard error what `RUST_LOG` asks for, warnings if it asks for nothing. Each line has
/// the id and the tenant that the code which logs sees.
pub(crate) fn init(carrier: Carrier) {
    let env = env_logger::Env::default().default_filter_or("warn");
    env_logger::Builder::from_env(env)
        .format(move |out, record| {
            let level = record.level();
            let message = record.args();
            match carrier.current() {
                Seen {
                    request_id: Some(id),
                    tenant: Some(tenant),
                    ..
                } => writeln!(out, "{level:<5} request={id} tenant={tenant} {message}"),
                _ => writeln!(out, "{level:<5} {message}"),
            }
        })
        .init();
}
