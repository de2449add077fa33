//! The steps that are done at once: variables, tokens, guards, contexts.

use std::mem;
use std::panic;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use aiocontextvars::{Context, Scoped, SharedContext, Token, copy_context};

use crate::any_var::on;
use crate::program::{Action, Back, Place, Step, Var};
use crate::reference::{ContextId, Entry, Frame};
use crate::run::{Planned, Run};
use crate::values::Value;

/// A context for a unit of work.
pub(crate) enum Given {
    Inherited,
    Owned(Context),
    Shared(SharedContext),
}

/// As `mem::forget`, but within reach of a leak checker: statics are not dropped.
fn forget(guard: Scoped<'static, Value>) {
    static FORGOTTEN: Mutex<Vec<Scoped<'static, Value>>> = Mutex::new(Vec::new());
    let mut forgotten = FORGOTTEN.lock().unwrap_or_else(PoisonError::into_inner);
    forgotten.push(guard);
}

impl Run {
    pub(crate) fn step(self: &Arc<Self>, step: &Step) {
        let number = step.number;
        match step.action {
            Action::Set(var) => {
                let token = on!(var.real(), |var| var.set(self.value(number)));
                self.written(var, number, Some(number), token);
            }
            Action::TrySet(var) => match on!(var.real(), |var| var.try_set(self.value(number))) {
                Ok(token) => self.written(var, number, Some(number), token),
                Err(error) => self.fail(error),
            },
            Action::Unset(var) => {
                let token = on!(var.real(), |var| var.unset());
                self.written(var, number, None, token);
            }
            Action::Reset(back, other) => self.reset(back, other),
            Action::DropToken(back) => {
                let token = back.take_from(&mut self.state().tokens);
                drop(token);
            }
            Action::Scoped(var) => {
                let guard = on!(var.real(), |var| var.scoped(self.value(number)));
                let mut state = self.state();
                let expected = state.model.scoped(var, number);
                state.guards.push((guard, expected));
            }
            Action::DropGuard(back) => self.end_guard(back, drop),
            Action::DropGuardInEmptyContext(back) => self.end_guard(back, |guard| {
                Context::new().run(|| drop(guard));
            }),
            Action::DropGuardOnThread(back) => self.end_guard(back, |guard| {
                let thread = thread::spawn(move || drop(guard));
                if let Err(payload) = thread.join() {
                    panic::resume_unwind(payload);
                }
            }),
            Action::ForgetGuard(back) => {
                let guard = back.take_from(&mut self.state().guards);
                // Its value stays, as long as the context does.
                if let Some((guard, _)) = guard {
                    forget(guard);
                }
            }
            Action::Snapshot => {
                let context = copy_context();
                let mut state = self.state();
                let values = state.model.values(state.model.current());
                state.snapshots.push((number, context, values));
            }
            Action::Restore(back, owned) => self.restore(back, owned),
            Action::WithValue(owned, var) => {
                let (context, id) = self.take_owned(owned);
                let value = self.value(number);
                let context = on!(var.real(), |var| context.with_value(var, value));
                self.state().model.replace(id, var, number);
                self.put_owned(owned, (context, id));
            }
            Action::Share { owned, shared } => {
                let (context, id) = self.take_owned(owned);
                let new = (context.share(), id);
                let old = mem::replace(&mut self.state().shared[shared], new);
                drop(old);
            }
            Action::CopyShared { shared, owned } => {
                let (shared, id) = self.shared(shared);
                let context = shared.copy();
                let id = self.state().model.copy(id);
                self.put_owned(owned, (context, id));
            }
            Action::Panic(through) => Planned::go_on(Some(Planned(through))),
            // They mean something to futures and to the listing.
            Action::Yield | Action::End => {}
            Action::Run(owned) => {
                let (mut context, id) = self.take_owned(owned);
                let unwinding = self.attempt(|| context.run(|| self.body(step, Frame::Inside, id)));
                self.put_owned(owned, (context, id));
                Planned::go_on(unwinding);
            }
            Action::RunShared(shared) => self.run_shared(step, shared),
            Action::SyncScope(var) => {
                let context = self.scope_context(var, number);
                let value = self.value(number);
                self.block(|| {
                    let body = || self.body(step, Frame::Inside, context);
                    on!(var.real(), |var| var.sync_scope(value, body));
                });
            }
            Action::With(var) => {
                self.block(|| {
                    let reader = |value: Option<&Value>| {
                        let number_of = |value: Option<&Value>| value.map(|value| value.number);
                        let before = number_of(value);
                        self.steps(&step.body);
                        self.expect("what a reader keeps", number_of(value), before);
                    };
                    on!(var.real(), |var| var.with(reader));
                });
            }
            Action::Resume(_)
            | Action::DropWork(_)
            | Action::Abort(_)
            | Action::FreshThread
            | Action::Thread(_)
            | Action::Future(_)
            | Action::Scope(_)
            | Action::Bind(_)
            | Action::BlockOn
            | Action::Spawn(_)
            | Action::CallSoon(_)
            | Action::SpawnBlocking => self.unit(step),
        }
    }

    /// Notes what a `set` or `unset` has done.
    fn written(&self, var: Var, number: u32, value: Option<u32>, token: Token<Value>) {
        let expected = self.state().model.set(var, value);
        let old_value = token.old_value().map(|value| value.number);
        self.expect("the old value", old_value, expected.old_value());
        self.state().tokens.push((number, token, expected));
    }

    fn reset(&self, back: Back, other: Option<Var>) {
        let Some((made_by, token, expected)) = back.take_from(&mut self.state().tokens) else {
            return;
        };
        self.uses(made_by);
        let var = other.unwrap_or(expected.var);
        let seen = on!(var.real(), |var| var.reset(token));
        let expected_refusal = self.state().model.reset(var, &expected).err();
        let refused = seen.as_ref().err().map(|error| error.kind());
        self.expect("is the reset refused", refused, expected_refusal);
        if let Err(error) = seen {
            let token = error.into_token();
            self.state().tokens.push((made_by, token, expected));
        }
    }

    pub(crate) fn end_guard(&self, back: Back, end: impl FnOnce(Scoped<'static, Value>)) {
        let Some((guard, expected)) = back.take_from(&mut self.state().guards) else {
            return;
        };
        self.uses(expected.number);
        end(guard);
        self.state().model.drop_guard(&expected);
    }

    fn restore(&self, back: Back, owned: usize) {
        let mut state = self.state();
        let Some((made_by, context, values)) = back.take_from(&mut state.snapshots) else {
            return;
        };
        let copy = context.clone();
        let id = state.model.add(&values);
        state.snapshots.push((made_by, context, values));
        drop(state);
        self.uses(made_by);
        self.put_owned(owned, (copy, id));
    }

    pub(crate) fn uses(&self, made_by: u32) {
        let mut state = self.state();
        if let Some(step) = state.step {
            state.uses.push((step, made_by));
        }
    }

    /// Leaves an empty context in its place.
    pub(crate) fn take_owned(&self, owned: usize) -> (Context, ContextId) {
        let mut state = self.state();
        let empty = (Context::new(), state.model.new_context());
        mem::replace(&mut state.owned[owned], empty)
    }

    pub(crate) fn put_owned(&self, owned: usize, context: (Context, ContextId)) {
        let values = self.state().model.values(context.1);
        self.check_context("an owned context", &context.0, &values);
        let old = mem::replace(&mut self.state().owned[owned], context);
        drop(old);
    }

    fn shared(&self, shared: usize) -> (SharedContext, ContextId) {
        let (context, id) = &self.state().shared[shared];
        (context.clone(), *id)
    }

    fn run_shared(self: &Arc<Self>, step: &Step, shared: usize) {
        let (context, id) = self.shared(shared);
        let entered = self.state().model.is_entered(id);
        self.block(|| {
            let outcome = context.run(|| {
                // Not `body`: if it ought to be refused, the model does not know its way out.
                self.expect("is it entered", false, entered);
                self.body(step, Frame::Inside, id);
            });
            self.expect("is it entered", outcome.is_err(), entered);
        });
    }

    /// The copy of the current context that `sync_scope` makes.
    pub(crate) fn scope_context(&self, var: Var, number: u32) -> ContextId {
        let model = &mut self.state().model;
        let context = model.copy(model.current());
        model.bind(context, var, Some(number));
        context
    }

    /// The context at `place`, as the crate and as the model know it.
    pub(crate) fn given(&self, place: Place) -> (Given, Entry) {
        match place {
            Place::Inherited => (Given::Inherited, Entry::Owned(self.state().model.inherit())),
            Place::Empty => {
                let id = self.state().model.new_context();
                (Given::Owned(Context::new()), Entry::Owned(id))
            }
            Place::Owned(owned) => {
                let (context, id) = self.take_owned(owned);
                (Given::Owned(context), Entry::Owned(id))
            }
            Place::Shared(shared) => {
                let (context, id) = self.shared(shared);
                (Given::Shared(context), Entry::Shared(id))
            }
        }
    }
}
