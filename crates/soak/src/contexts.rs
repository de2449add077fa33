//! Contexts inside a unit of work: functions, guards, scopes, and blocking on a future.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use aiocontextvars::{ContextExt, Scoped, copy_context, shim};
use fastrand::Rng;

use crate::tasks::{Nested, leaf, rest, spawn_with};
use crate::truth::{REQUEST, TENANT, Truth, other_request};
use crate::units::{Kind, Unit};

/// Contexts that are entered and left within one call.
pub(crate) fn run(unit: &Unit, rng: &mut Rng) {
    match rng.u8(0..6) {
        0 => {
            let truth = Truth::new();
            let part = unit.child_of(Kind::Part, truth);
            truth.context().run(|| {
                part.start();
                drop(part);
            });
        }
        1 => {
            let part = unit.child(Kind::Part);
            let bound = shim::bind(move || part.start());
            let (request, _) = other_request();
            REQUEST.sync_scope(request, bound);
        }
        2 => {
            let part = unit.child(Kind::Part);
            copy_context().run(|| part.start());
            // Dropped outside, where the copy's last write is not seen.
            part.set_truth(unit.truth());
        }
        3 => {
            // A copy that outlives its values' last change here.
            let copy = copy_context();
            let (request, tenant) = other_request();
            let token = REQUEST.set(request);
            let guard = TENANT.scoped(tenant.to_owned());
            unit.truth()
                .with_request(request)
                .with_tenant(tenant)
                .check(
                    unit.round().runtime,
                    || unit.facts.describe(),
                    "between set and reset",
                );
            drop(guard);
            if REQUEST.reset(token).is_err() {
                unit.facts.fault("could not reset its own token");
            }
            if copy.get(&REQUEST).copied() != REQUEST.get() {
                unit.facts.fault("has lost what a copy of its context has");
            }
        }
        4 => {
            // A reader that writes meanwhile.
            REQUEST.with(|request| {
                let (other, _) = other_request();
                let guard = REQUEST.scoped(other);
                if request.is_some_and(|request| *request == other) {
                    unit.facts.fault("saw a write inside of `with`");
                }
                drop(guard);
            });
        }
        _ => {}
    }
    unit.check("after it has run in other contexts");
}

/// Two guards over what else is done, dropped in any order.
pub(crate) async fn guards(unit: &Unit, rng: &mut Rng, nested: Option<Nested>) {
    let before = unit.truth();
    let (request, tenant) = other_request();
    let guards = Guards {
        unit,
        before,
        request: Some(REQUEST.scoped(request)),
        tenant: Some(TENANT.scoped(tenant.to_owned())),
        request_first: rng.bool(),
    };
    unit.set_truth(before.with_request(request).with_tenant(tenant));
    unit.check("under its guards");
    if nested.is_some() && rng.bool() {
        let child = spawn_with(unit, rng, leaf);
        unit.at("waits under guards for a task");
        child.settle().await;
    }
    rest(unit, rng).await;
    drop(guards);
}

struct Guards<'a> {
    unit: &'a Unit,
    before: Truth,
    request: Option<Scoped<'static, u64>>,
    tenant: Option<Scoped<'static, String>>,
    request_first: bool,
}

impl Drop for Guards<'_> {
    fn drop(&mut self) {
        self.unit.check("before its guards are dropped");
        if self.request_first {
            self.request = None;
            self.tenant = None;
        } else {
            self.tenant = None;
            self.request = None;
        }
        self.unit.set_truth(self.before);
        self.unit.check("after its guards are dropped");
    }
}

/// A future in a scope, or in a context of its own, inside this task.
pub(crate) async fn scope(unit: &Unit, rng: &mut Rng) {
    let (request, _) = other_request();
    let part = unit.child_of(Kind::Part, unit.truth().with_request(request));
    let mut inner = rng.fork();
    let future = async move {
        part.start();
        rest(&part, &mut inner).await;
        part.check("in a scope");
    };
    unit.at("waits in a scope");
    if rng.bool() {
        REQUEST.scope(request, future).await;
    } else {
        let context = copy_context().with_value(&REQUEST, request);
        let mut future: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(future.in_context(context));
        let limit = Duration::from_micros(rng.u64(0..2_000));
        let _elapsed = shim::timeout(limit, &mut future).await;
        // What is left of it is dropped inside its own context.
        drop(future);
    }
}

thread_local! {
    /// How many times this thread blocks within work. On some executors it runs other tasks
    /// meanwhile.
    static BLOCKED: Cell<u32> = const { Cell::new(0) };
}

/// Whether what is outside of this task is outside of all work.
pub(crate) fn is_nested() -> bool {
    BLOCKED.get() > 0
}

/// Blocks on a future where that is possible. It waits for no other task, which might need this
/// thread.
pub(crate) fn nested_block_on(unit: &Unit, rng: &mut Rng) {
    struct Leave;

    impl Drop for Leave {
        fn drop(&mut self) {
            BLOCKED.set(BLOCKED.get() - 1);
        }
    }

    if is_nested() {
        return;
    }
    unit.at("blocks on a future");
    BLOCKED.set(BLOCKED.get() + 1);
    let leave = Leave;
    let part = unit.child(Kind::Part);
    let yields = rng.u32(0..=2);
    let _refused = shim::try_block_on(async move {
        part.start();
        for _ in 0..yields {
            shim::yield_now().await;
            part.check("in a nested `block_on`");
        }
    });
    drop(leave);
    unit.check("after a nested `block_on`");
}
