//! Chains of values that contain contexts are dropped without recursion, and so are guards of an
//! executor; many guards of one variable cost a step each, and so do many variables that are local
//! or have guards.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use aiocontextvars::shim::{ContextAwareExecutor, Executor, Runnable};
use aiocontextvars::{
    Carried, Context, ContextExt, ContextVar, Scoped, SharedContext, Token, WithContext,
    context_var, copy_context, inherit_context, shim,
};
use futures::future::join_all;

/// The stack of a worker thread.
const STACK: usize = 2 << 20;
const LONG: usize = 1_000_000;

fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(STACK).spawn(f).unwrap();
    thread.join().unwrap();
}

/// Counts drops, and what its destructor finds.
struct Witness {
    dropped: Arc<AtomicUsize>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

fn witnesses() -> (Arc<AtomicUsize>, impl Fn() -> Arc<Witness>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let make = {
        let dropped = Arc::clone(&dropped);
        move || {
            Arc::new(Witness {
                dropped: Arc::clone(&dropped),
            })
        }
    };
    (dropped, make)
}

#[test]
fn a_chain_of_contexts_is_dropped_on_a_small_stack() {
    context_var! { static PARENT: (Context, Arc<Witness>); }

    on_a_small_stack(|| {
        let (dropped, witness) = witnesses();
        let mut context = Context::new();
        context.run(|| {
            for _ in 0..LONG {
                PARENT.set((copy_context(), witness()));
            }
        });
        drop(context);
        assert_eq!(dropped.load(Ordering::Relaxed), LONG);
    });
}

#[test]
fn a_chain_of_tokens_is_dropped_on_a_small_stack() {
    struct Link {
        _token: Option<Token<Link>>,
        _witness: Arc<Witness>,
    }
    context_var! { static LINK: Link; }

    on_a_small_stack(|| {
        let (dropped, witness) = witnesses();
        let mut context = Context::new();
        let last = context.run(|| {
            let mut token = None;
            for _ in 0..LONG {
                token = Some(LINK.set(Link {
                    _token: token,
                    _witness: witness(),
                }));
            }
            token
        });
        drop((context, last));
        assert_eq!(dropped.load(Ordering::Relaxed), LONG);
    });
}

#[test]
fn a_chain_of_messages_is_dropped_on_a_small_stack() {
    context_var! { static MESSAGE: Carried<Arc<Witness>>; }

    on_a_small_stack(|| {
        let (dropped, witness) = witnesses();
        let mut context = Context::new();
        context.run(|| {
            for _ in 0..LONG {
                MESSAGE.set(Carried::new(witness()));
            }
        });
        drop(context);
        assert_eq!(dropped.load(Ordering::Relaxed), LONG);
    });
}

#[test]
fn a_chain_of_shared_contexts_is_dropped_on_a_small_stack() {
    context_var! { static SHARED: (SharedContext, Arc<Witness>); }

    on_a_small_stack(|| {
        let (dropped, witness) = witnesses();
        let mut context = Context::new();
        context.run(|| {
            for _ in 0..LONG {
                SHARED.set((copy_context().share(), witness()));
            }
        });
        drop(context);
        assert_eq!(dropped.load(Ordering::Relaxed), LONG);
    });
}

#[test]
fn a_chain_of_wrapped_functions_is_dropped_on_a_small_stack() {
    context_var! { static WRAPPED: WithContext<Arc<Witness>>; }

    on_a_small_stack(|| {
        let (dropped, witness) = witnesses();
        let mut context = Context::new();
        context.run(|| {
            for _ in 0..LONG {
                WRAPPED.set(witness().in_current_context());
            }
        });
        drop(context);
        assert_eq!(dropped.load(Ordering::Relaxed), LONG);
    });
}

const MANY: usize = 100_000;

context_var! { static N: usize; }

/// The last few of what it is given: as copies of a context in tasks that come and go.
struct Few<T>(VecDeque<T>);

impl<T> Few<T> {
    fn push(&mut self, item: T) {
        self.0.push_back(item);
        if self.0.len() > 10 {
            self.0.pop_front();
        }
    }
}

/// Makes guards and drops them in the order of `next`, which is given the live ones, with a read
/// and a write in between.
fn make_and_drop(next: impl Fn(&BTreeSet<usize>) -> usize, with_copies: bool) {
    let mut copies = Few(VecDeque::new());
    let mut copy = || {
        if with_copies {
            copies.push(copy_context());
        }
    };
    Context::new().run(|| {
        let _base = N.set(MANY);
        let mut guards: Vec<Option<Scoped<'static, usize>>> = Vec::new();
        for n in 0..MANY {
            guards.push(Some(N.scoped(n)));
            copy();
        }
        let mut live: BTreeSet<usize> = (0..MANY).collect();
        while !live.is_empty() {
            let gone = next(&live);
            live.remove(&gone);
            drop(guards[gone].take());
            let expected = live.last().copied().unwrap_or(MANY);
            assert_eq!(N.get(), Some(expected));
            N.set(expected);
            copy();
        }
        assert_eq!(N.get(), Some(MANY));
    });
}

/// Linear in the number of guards, and no recursion, or this takes minutes or a bigger stack.
/// `ci/counts.sh` counts.
fn in_order(next: impl Fn(&BTreeSet<usize>) -> usize + Clone + Send + 'static) {
    for with_copies in [false, true] {
        let next = next.clone();
        on_a_small_stack(move || make_and_drop(next, with_copies));
    }
}

#[test]
fn many_guards_last_first() {
    in_order(|live| live.last().copied().unwrap());
}

#[test]
fn many_guards_first_first() {
    in_order(|live| live.first().copied().unwrap());
}

#[test]
fn many_guards_in_any_order() {
    let order: Vec<usize> = {
        let mut order: Vec<usize> = (0..MANY).collect();
        fastrand::Rng::with_seed(7).shuffle(&mut order);
        order
    };
    let order = Arc::new(order);
    in_order(move |live| order[MANY - live.len()]);
}

/// The context goes before its guards do.
#[test]
fn many_guards_that_outlive_their_context() {
    on_a_small_stack(|| {
        let mut context = Context::new();
        let guards = context.run(|| (0..MANY).map(|n| N.scoped(n)).collect::<Vec<_>>());
        drop(context);
        drop(guards);
    });
}

/// Guards that end where their context is out of reach are passed over by one read, and taken out
/// by one write.
#[test]
fn many_guards_that_end_elsewhere() {
    on_a_small_stack(|| {
        Context::new().run(|| {
            N.set(MANY);
            let guards: Vec<_> = (0..MANY).map(|n| N.scoped(n)).collect();
            thread::spawn(move || drop(guards)).join().unwrap();
            assert_eq!(N.get(), Some(MANY));
            N.set(1);
            assert_eq!((N.get(), copy_context().len()), (Some(1), 1));
        });
    });
}

/// Tokens that were made under them give what was below them, in whatever order they are used.
#[test]
fn many_tokens_of_guards_that_end_elsewhere() {
    for newest_first in [false, true] {
        on_a_small_stack(move || {
            Context::new().run(|| {
                N.set(MANY);
                let (mut guards, mut tokens) = (Vec::new(), Vec::new());
                for n in 0..MANY {
                    guards.push(N.scoped(n));
                    tokens.push(N.set(n));
                }
                thread::spawn(move || drop(guards)).join().unwrap();
                if newest_first {
                    tokens.reverse();
                }
                for token in tokens {
                    N.set(1);
                    N.reset(token).unwrap();
                    assert_eq!(N.get(), Some(MANY));
                }
            });
        });
    }
}

/// Counts what is sent there.
#[derive(Default)]
struct Sent(AtomicUsize);

impl Executor for Sent {
    fn schedule(&self, task: Runnable) {
        self.0.fetch_add(1, Ordering::Relaxed);
        drop(task);
    }
}

#[test]
fn many_guards_of_an_executor() {
    on_a_small_stack(|| {
        let executor = ContextAwareExecutor::new(Arc::new(Sent::default()));
        let enter = || executor.enter();
        let entered = || (0..LONG).map(|_| enter()).collect::<Vec<_>>();
        let is_entered = || {
            let sent = &executor.get_ref().0;
            let before = sent.load(Ordering::Relaxed);
            drop(shim::try_spawn(async {}));
            sent.load(Ordering::Relaxed) > before
        };

        let last_first = entered();
        last_first.into_iter().rev().for_each(drop);
        assert!(!is_entered());

        // As a `Vec` drops them.
        let mut first_first = entered();
        drop(first_first.drain(..LONG - 1));
        assert!(is_entered());
        drop(first_first);
        assert!(!is_entered());

        let outlive_their_frame = Context::new().run(entered);
        assert!(!is_entered());
        drop(outlive_their_frame);
        assert_eq!(Arc::strong_count(executor.get_ref()), 1);
    });
}

/// Where guards overlap without end, as in branches that come and go, those that have ended do not
/// pile up.
#[test]
fn guards_that_overlap_for_ever_keep_no_more_than_as_many_ended_ones() {
    struct Value(Arc<()>);
    context_var! { static VALUE: Value; }

    const LIVE: usize = 20;
    let alive = Arc::new(());
    Context::new().run(|| {
        let mut live = VecDeque::new();
        for _ in 0..10_000 {
            live.push_back(VALUE.scoped(Value(Arc::clone(&alive))));
            if live.len() > LIVE {
                live.pop_front();
            }
            assert!(VALUE.with(|value| value.is_some_and(|value| Arc::ptr_eq(&value.0, &alive))));
            assert!(Arc::strong_count(&alive) <= 1 + 2 * LIVE + 1);
        }
        drop(live);
        assert_eq!(Arc::strong_count(&alive), 1);
    });
}

#[test]
fn guards_in_branches_of_one_task() {
    on_a_small_stack(|| {
        shim::block_on(async {
            let branch = async |n: usize| {
                let _guard = N.scoped(n);
                for _ in 0..n % 3 {
                    shim::yield_now().await;
                }
            };
            join_all((0..MANY / 10).map(branch)).await;
            assert_eq!(N.get(), None);
        });
    });
}

fn variables(count: usize) -> Vec<ContextVar<usize>> {
    (0..count)
        .map(|_| ContextVar::named("one of many"))
        .collect()
}

/// Linear, but for a logarithm, or this takes minutes.
#[test]
fn many_local_variables() {
    let (inherited, locals) = (variables(50), variables(20_000));
    let locals: Vec<_> = locals.into_iter().map(ContextVar::local).collect();
    Context::new().run(|| {
        for var in inherited.iter().chain(&locals) {
            var.set(1);
        }
        assert_eq!(copy_context().len(), inherited.len() + locals.len());
        for _ in 0..20 {
            let context = inherit_context();
            assert_eq!(context.len(), inherited.len());
            assert!(inherited.iter().all(|var| context.contains(var)));
        }
        for var in &locals {
            // Beside a copy.
            let copy = copy_context();
            var.unset();
            assert!(copy.contains(var));
        }
        assert_eq!(copy_context().len(), inherited.len());
    });
}

/// The same of variables that have guards.
#[test]
fn many_variables_with_guards() {
    let variables = variables(20_000);
    Context::new().run(|| {
        let mut guards = VecDeque::new();
        for var in &variables {
            guards.push_back(var.scoped(1));
        }
        let snapshot = copy_context();
        for _ in 0..variables.len() / 2 {
            guards.pop_front();
        }
        assert_eq!(copy_context().len(), variables.len() / 2);
        // Out of reach of the context.
        thread::scope(|scope| drop(scope.spawn(|| drop(guards))));
        assert!(copy_context().is_empty());
        assert_eq!(snapshot.len(), variables.len());
    });
}
