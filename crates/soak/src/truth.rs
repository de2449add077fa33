//! The variables, and what of them is to be seen in a context.

use std::sync::atomic::{AtomicU64, Ordering};

use aiocontextvars::{Context, context_var};

use crate::ledger::{Count, Counted, LEDGER};
use crate::runtime::Runtime;

context_var! {
    /// The request that the work is for,
    pub(crate) static REQUEST: u64;
    /// its tenant,
    pub(crate) static TENANT: String;
    /// a value of its own, which is counted,
    pub(crate) static HELD: Counted;
    /// and the unit of work whose context this is, or a copy of whose it is.
    pub(crate) static UNIT: u64;
}

const TENANTS: [&str; 7] = [
    "acme", "hooli", "initech", "stark", "tyrell", "umbrella", "wayne",
];

/// What is to be seen in a context.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) request: Option<u64>,
    tenant: Option<&'static str>,
    held: Option<u64>,
    /// `None` where several units share the context, and each writes.
    pub(crate) unit: Option<Option<u64>>,
    /// At the exit of a thread its own values may be gone.
    or_nothing: bool,
}

enum Verdict {
    Right,
    Wrong,
    Missing,
}

/// A number that nothing else has.
pub(crate) fn number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

fn tenant(request: u64) -> &'static str {
    TENANTS[(request % TENANTS.len() as u64) as usize]
}

impl Truth {
    /// Outside all work.
    pub(crate) const NOTHING: Truth = Truth {
        request: None,
        tenant: None,
        held: None,
        unit: Some(None),
        or_nothing: false,
    };

    /// A new request.
    pub(crate) fn new() -> Truth {
        let request = number();
        Truth {
            request: Some(request),
            tenant: Some(tenant(request)),
            held: Some(request),
            ..Truth::NOTHING
        }
    }

    /// In a context that several units write to.
    pub(crate) fn shared(self) -> Truth {
        Truth { unit: None, ..self }
    }

    pub(crate) fn or_nothing(self) -> Truth {
        Truth {
            or_nothing: true,
            ..self
        }
    }

    /// For another request, all else being as before.
    pub(crate) fn with_request(self, request: u64) -> Truth {
        Truth {
            request: Some(request),
            ..self
        }
    }

    pub(crate) fn with_tenant(self, tenant: &'static str) -> Truth {
        Truth {
            tenant: Some(tenant),
            ..self
        }
    }

    /// A context in which this is true.
    pub(crate) fn context(&self) -> Context {
        let mut context = Context::new();
        context.run(|| self.set());
        context
    }

    /// Makes it true in the current context.
    pub(crate) fn set(&self) {
        if let (Some(request), Some(tenant)) = (self.request, self.tenant) {
            REQUEST.set(request);
            TENANT.set(tenant.to_owned());
            HELD.set(Counted::new(request));
        }
    }

    fn verdict(&self) -> Verdict {
        let request = REQUEST.get();
        let tenant_is_right = TENANT.with(|seen| seen.map(String::as_str) == self.tenant);
        let has_tenant = TENANT.with(|seen| seen.is_some());
        let held = HELD.with(|seen| seen.map(Counted::of));
        let unit = UNIT.get();
        let right = request == self.request
            && tenant_is_right
            && held == self.held
            && self.unit.is_none_or(|expected| expected == unit);
        let nothing = request.is_none() && !has_tenant && held.is_none() && unit.is_none();
        let wrong = request.is_some_and(|seen| Some(seen) != self.request)
            || has_tenant && !tenant_is_right
            || held.is_some_and(|seen| Some(seen) != self.held)
            || unit.is_some() && self.unit.is_some_and(|expected| expected != unit);
        match (right || nothing && self.or_nothing, wrong) {
            (true, _) => Verdict::Right,
            (false, true) => Verdict::Wrong,
            (false, false) => Verdict::Missing,
        }
    }

    /// Looks at the current context; whose it is and where this is go into the fault.
    pub(crate) fn check(&self, runtime: Runtime, who: impl FnOnce() -> String, at: &str) {
        LEDGER.count(runtime, Count::Checks);
        let count = match self.verdict() {
            Verdict::Right => return,
            Verdict::Wrong => Count::Misattributed,
            Verdict::Missing => Count::Lost,
        };
        LEDGER.count(runtime, count);
        LEDGER.fault(|| {
            let (request, tenant) = (REQUEST.get(), TENANT.get());
            let (held, unit) = (HELD.with(|held| held.map(Counted::of)), UNIT.get());
            format!(
                "{} {at} saw request {request:?}, tenant {tenant:?}, value {held:?}, unit {unit:?}; expected {self:?}",
                who()
            )
        });
    }
}

/// A random request and tenant for a while.
pub(crate) fn other_request() -> (u64, &'static str) {
    let request = number();
    (request, tenant(request / 2))
}
