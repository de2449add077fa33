//! How a request's identity is carried to the code that works for it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::Future;

use aiocontextvars::{ContextExt, context_var};
use serde::{Deserialize, Serialize};

context_var! {
    static REQUEST_ID: u64;
    static TENANT: String;
}

thread_local! {
    static OF_THREAD: RefCell<Option<Identity>> = const { RefCell::new(None) };
}

#[cfg(feature = "tokio")]
tokio::task_local! {
    static OF_TASK: Identity;
}

/// Whose request it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) request_id: u64,
    pub(crate) tenant: String,
}

/// What a piece of work saw when it asked whose request it is working for.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Hop {
    #[serde(rename = "hop")]
    pub(crate) name: Cow<'static, str>,
    pub(crate) request_id: Option<u64>,
    pub(crate) tenant: Option<String>,
}

/// Where the identity is kept while a request is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Carrier {
    /// In context variables, each request in a context of its own.
    Context,
    /// In a thread-local, set when the request starts.
    ThreadLocal,
    /// In one of tokio's task-locals, around the handler.
    #[cfg(feature = "tokio")]
    TaskLocal,
}

impl Carrier {
    pub(crate) fn is_for_tokio_only(self) -> bool {
        match self {
            Carrier::Context | Carrier::ThreadLocal => false,
            #[cfg(feature = "tokio")]
            Carrier::TaskLocal => true,
        }
    }

    /// Runs `handler` as the one who serves `identity`.
    pub(crate) async fn carry<F: Future>(self, identity: Identity, handler: F) -> F::Output {
        match self {
            Carrier::Context => {
                let serve = async {
                    REQUEST_ID.set(identity.request_id);
                    TENANT.set(identity.tenant);
                    handler.await
                };
                // The connection's task serves one request after the other; what one sets must not be
                // there for the next.
                serve.in_current_context().await
            }
            Carrier::ThreadLocal => {
                OF_THREAD.set(Some(identity));
                handler.await
            }
            #[cfg(feature = "tokio")]
            Carrier::TaskLocal => OF_TASK.scope(identity, handler).await,
        }
    }

    /// The id and the tenant that the calling code sees.
    pub(crate) fn current(self) -> (Option<u64>, Option<String>) {
        let identity = match self {
            Carrier::Context => return (REQUEST_ID.get(), TENANT.get()),
            // A log line may come from a thread whose locals are gone already.
            Carrier::ThreadLocal => OF_THREAD
                .try_with(|identity| identity.borrow().clone())
                .ok()
                .flatten(),
            #[cfg(feature = "tokio")]
            Carrier::TaskLocal => OF_TASK.try_with(Identity::clone).ok(),
        };
        identity
            .map(|identity| (identity.request_id, identity.tenant))
            .unzip()
    }

    /// Takes down what the calling code sees.
    pub(crate) fn look(self, hop: &'static str) -> Hop {
        log::debug!("hop {hop}");
        let (request_id, tenant) = self.current();
        Hop {
            name: Cow::Borrowed(hop),
            request_id,
            tenant,
        }
    }
}
