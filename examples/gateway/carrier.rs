//! How a request's identity is carried to the code that works for it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::Future;

use aiocontextvars::{ContextExt, context_var};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

context_var! {
    pub(crate) static REQUEST_ID: u64;
    pub(crate) static TENANT: String;
    /// The part of the request that a branch of its task works on.
    static PART: usize;
}

thread_local! {
    static OF_THREAD: RefCell<Seen> = const { RefCell::new(Seen::NOTHING) };
}

#[cfg(feature = "tokio")]
tokio::task_local! {
    static ID_OF_TASK: u64;
    static TENANT_OF_TASK: String;
    static PART_OF_TASK: usize;
}

/// Whose request it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) request_id: u64,
    pub(crate) tenant: String,
}

/// The values that a piece of work sees.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Seen {
    pub(crate) request_id: Option<u64>,
    pub(crate) tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) part: Option<usize>,
}

impl Seen {
    pub(crate) const NOTHING: Seen = Seen {
        request_id: None,
        tenant: None,
        part: None,
    };
}

/// What a piece of work saw when it asked whose request it is working for.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Hop {
    #[serde(rename = "hop")]
    pub(crate) name: Cow<'static, str>,
    #[serde(flatten)]
    pub(crate) seen: Seen,
}

/// Where the identity is kept while a request is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Carrier {
    /// In context variables, each request in a context of its own.
    Context,
    /// In a thread-local, set when the request starts.
    ThreadLocal,
    /// In tokio's task-locals, around the handler.
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

    /// Runs `handler` as the one who serves `identity`. Also returns the values from before, of
    /// which there should be none.
    pub(crate) async fn carry<F: Future>(
        self,
        identity: Identity,
        handler: F,
    ) -> (Seen, F::Output) {
        let Identity { request_id, tenant } = identity;
        match self {
            Carrier::Context => {
                let serve = async {
                    let found = self.current();
                    REQUEST_ID.set(request_id);
                    TENANT.set(tenant);
                    (found, handler.await)
                };
                // The connection's task serves one request after the other; what one sets must not
                // be there for the next.
                serve.in_current_context().await
            }
            Carrier::ThreadLocal => {
                let found = OF_THREAD.replace(Seen {
                    request_id: Some(request_id),
                    tenant: Some(tenant),
                    part: None,
                });
                (found, handler.await)
            }
            #[cfg(feature = "tokio")]
            Carrier::TaskLocal => {
                let found = self.current();
                let handler = TENANT_OF_TASK.scope(tenant, handler);
                (found, ID_OF_TASK.scope(request_id, handler).await)
            }
        }
    }

    /// Sets the tenant in the calling code. The error says why it cannot be set.
    pub(crate) fn log_in(self, tenant: String) -> Result<(), String> {
        match self {
            Carrier::Context => match TENANT.try_set(tenant) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Carrier::ThreadLocal => {
                OF_THREAD.with_borrow_mut(|seen| seen.tenant = Some(tenant));
                Ok(())
            }
            #[cfg(feature = "tokio")]
            Carrier::TaskLocal => {
                Err("a task-local cannot be set: it has a value in its scope only".to_owned())
            }
        }
    }

    /// `work`, for the request of this id. Knows nothing of tenants.
    pub(crate) fn with_id<F>(self, id: u64, work: F) -> BoxFuture<'static, F::Output>
    where
        F: Future + Send + 'static,
    {
        match self {
            Carrier::Context => REQUEST_ID.scope(id, work).boxed(),
            Carrier::ThreadLocal => async move {
                OF_THREAD.with_borrow_mut(|seen| seen.request_id = Some(id));
                work.await
            }
            .boxed(),
            #[cfg(feature = "tokio")]
            Carrier::TaskLocal => ID_OF_TASK.scope(id, work).boxed(),
        }
    }

    /// `work`, for this tenant. Knows nothing of requests.
    pub(crate) fn with_tenant<F>(self, tenant: String, work: F) -> BoxFuture<'static, F::Output>
    where
        F: Future + Send + 'static,
    {
        match self {
            Carrier::Context => TENANT.scope(tenant, work).boxed(),
            Carrier::ThreadLocal => async move {
                OF_THREAD.with_borrow_mut(|seen| seen.tenant = Some(tenant));
                work.await
            }
            .boxed(),
            #[cfg(feature = "tokio")]
            Carrier::TaskLocal => TENANT_OF_TASK.scope(tenant, work).boxed(),
        }
    }

    /// Works on one part of the request, in a branch of its task.
    pub(crate) async fn work_on_part<F: Future>(self, part: usize, work: F) -> F::Output {
        match self {
            Carrier::Context => {
                PART.set(part);
                work.await
            }
            Carrier::ThreadLocal => {
                OF_THREAD.with_borrow_mut(|seen| seen.part = Some(part));
                work.await
            }
            #[cfg(feature = "tokio")]
            Carrier::TaskLocal => PART_OF_TASK.scope(part, work).await,
        }
    }

    /// The values that the calling code sees.
    pub(crate) fn current(self) -> Seen {
        match self {
            Carrier::Context => Seen {
                request_id: REQUEST_ID.get(),
                tenant: TENANT.get(),
                part: PART.get(),
            },
            // A log line may come from a thread whose locals are gone already.
            Carrier::ThreadLocal => OF_THREAD
                .try_with(|seen| seen.borrow().clone())
                .unwrap_or(Seen::NOTHING),
            #[cfg(feature = "tokio")]
            Carrier::TaskLocal => Seen {
                request_id: ID_OF_TASK.try_get().ok(),
                tenant: TENANT_OF_TASK.try_get().ok(),
                part: PART_OF_TASK.try_get().ok(),
            },
        }
    }

    /// Takes down what the calling code sees.
    pub(crate) fn look(self, hop: &'static str) -> Hop {
        log::debug!("hop {hop}");
        Hop {
            name: Cow::Borrowed(hop),
            seen: self.current(),
        }
    }
}
