//! Functions in a context of their own: `bind`, `bind_mut` and `bind_fn`, of a `Context` and of
//! `shim`.

#[path = "../crates/conformance/src/drops.rs"]
mod drops;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::{Context, context_var, copy_context, shim};

use drops::{Counted, Drops};

context_var! {
    static ID: u64;
    static HELD: Counted;
}

/// What it was, and from now on is another.
fn replaced(id: u64) -> Option<u64> {
    let before = ID.get();
    ID.set(id);
    before
}

#[test]
fn the_context_is_that_of_the_binding() {
    ID.set(1);
    let once = shim::bind(|| replaced(10));
    let mut again = shim::bind_mut(|()| replaced(ID.get_or(0) + 10));
    let each = shim::bind_fn(|()| replaced(20));
    let given = || Context::new().with_value(&ID, 5);
    let given_once = given().bind(|| replaced(10));
    let mut given_again = given().bind_mut(|()| replaced(ID.get_or(0) + 10));
    let given_each = given().bind_fn(|()| replaced(20));
    let empty = Context::new().bind(|| replaced(10));
    ID.set(2);
    let other = Context::new().with_value(&ID, 3).run(|| {
        assert_eq!((once(), given_once(), empty()), (Some(1), Some(5), None));
        assert_eq!((again(()), again(())), (Some(1), Some(11)));
        assert_eq!((given_again(()), given_again(())), (Some(5), Some(15)));
        assert_eq!((each(()), each(())), (Some(1), Some(1)));
        assert_eq!((given_each(()), given_each(())), (Some(5), Some(5)));
        ID.get()
    });
    assert_eq!((other, ID.get()), (Some(3), Some(2)));
}

#[test]
fn arguments_and_results_pass_through() {
    ID.set(1);
    // What cannot be sent to another thread or cloned, and what borrows.
    let text = String::from("text");
    let owned = Rc::new(Cell::new(0));
    let taken = Rc::clone(&owned);
    let once = shim::bind(|| (taken, &text));
    let (back, borrowed) = once();
    assert!(Rc::ptr_eq(&back, &owned) && std::ptr::eq(borrowed, &text));
    let mut calls = Vec::new();
    let mut add = shim::bind_mut(|(n, name): (u64, &'static str)| {
        calls.push(name);
        ID.set(ID.get_or(0) + n);
        ID.get()
    });
    assert_eq!(
        (add((2, "first")), add((3, "second"))),
        (Some(3), Some(6)),
        "one context over all calls"
    );
    drop(add);
    assert_eq!(calls, ["first", "second"]);
    let longest = shim::bind_fn(|words: [&str; 2]| words.into_iter().max_by_key(|word| word.len()));
    assert_eq!(longest(["a", "abc"]), Some("abc"));
    let failing = shim::bind_fn(|n: u8| n.checked_sub(1).ok_or("too small"));
    assert_eq!((failing(1), failing(0)), (Ok(0), Err("too small")));
    assert_eq!(ID.get(), Some(1));
}

/// The other way round, see `tests/misuse`.
#[test]
fn what_may_be_sent_may_be_sent_when_it_is_bound() {
    // Of a type that is `Send` and not `Sync`.
    let once = Context::new().bind({
        let n = Cell::new(1);
        move || n.get()
    });
    let mut again = shim::bind_mut({
        let n = Cell::new(2);
        move |()| n.get()
    });
    let each = shim::bind_fn({
        let n = Cell::new(3);
        move |()| n.get()
    });
    let all = move || (once(), again(()), each(()));
    assert_eq!(thread::spawn(all).join().unwrap(), (1, 2, 3));
}

/// All at once, and none sees another's.
#[test]
fn each_of_many_calls_at_once_has_its_own_copy() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 20;
    let (captured, made, closures) = (Drops::new(), Drops::new(), Drops::new());
    let barrier = Barrier::new(THREADS as usize);
    let context = Context::new()
        .with_value(&ID, 100)
        .with_value(&HELD, captured.value());
    let closure = closures.value();
    let (inside, made_inside) = (&barrier, &made);
    let bound = context.bind_fn(move |n: u64| {
        let _kept = &closure;
        // All are inside.
        inside.wait();
        let before = replaced(n);
        HELD.set(made_inside.value());
        // All have written, and nobody has left.
        inside.wait();
        let after = ID.get();
        inside.wait();
        (before, after)
    });
    let calls = |n| {
        ID.set(1000 + n);
        let rounds = (0..ROUNDS).map(|round| {
            let id = round * THREADS + n;
            let seen = (id, bound(id), ID.get(), copy_context().len());
            barrier.wait();
            seen
        });
        // Looked at when nobody waits for the others any more.
        rounds.collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|n| scope.spawn(move || calls(n)))
            .collect();
        for (n, thread) in (1000..).zip(threads) {
            for (id, seen, outside, len) in thread.join().unwrap() {
                assert_eq!(seen, (Some(100), Some(id)));
                assert_eq!((outside, len), (Some(n), 1));
            }
        }
    });
    // The copies went with their calls, and what was captured is there for the next.
    assert_eq!(made.count() as u64, THREADS * ROUNDS);
    assert_eq!((captured.count(), closures.count()), (0, 0));
    drop(bound);
    assert_eq!((captured.count(), closures.count()), (1, 1));
}

#[test]
fn a_bound_function_may_call_itself() {
    fn descend(f: &dyn Fn(u64) -> Vec<Option<u64>>, depth: u64) -> Vec<Option<u64>> {
        let mut seen = vec![replaced(depth)];
        if depth > 0 {
            seen.extend(f(depth - 1));
        }
        // Nothing of the inner calls.
        assert_eq!(ID.get(), Some(depth));
        seen
    }
    type Bound = Box<dyn Fn(u64) -> Vec<Option<u64>>>;
    ID.set(7);
    let itself = Rc::new(RefCell::new(None::<Rc<Bound>>));
    let inner = Rc::clone(&itself);
    let bound: Bound = Box::new(shim::bind_fn(move |depth| {
        let f = inner.borrow().clone().unwrap();
        descend(&**f, depth)
    }));
    *itself.borrow_mut() = Some(Rc::new(bound));
    let f = itself.borrow().clone().unwrap();
    assert_eq!(f(3), [Some(7); 4]);
    assert_eq!(ID.get(), Some(7));
    itself.borrow_mut().take();
}

#[test]
fn a_panic_leaves_all_as_it_was() {
    fn caught(f: impl FnOnce() -> Option<u64>) -> Option<u64> {
        let payload = panic::catch_unwind(AssertUnwindSafe(f)).unwrap_err();
        *payload.downcast::<Option<u64>>().unwrap()
    }
    /// Panics with what it was.
    fn panics(id: u64, drops: &Drops) -> Option<u64> {
        let before = replaced(id);
        HELD.set(drops.value());
        panic::resume_unwind(Box::new(before))
    }
    let drops = Drops::new();
    ID.set(1);
    let once = shim::bind(|| panics(10, &drops));
    let mut again = shim::bind_mut(|n| panics(n, &drops));
    let each = shim::bind_fn(|n| panics(n, &drops));
    let inner = Context::new().with_value(&ID, 2).run(|| {
        assert_eq!(caught(once), Some(1));
        assert_eq!(drops.count(), 1);
        // The context stays, with what was set before the panic.
        assert_eq!(caught(|| again(10)), Some(1));
        assert_eq!(caught(|| again(20)), Some(10));
        // Each copy goes.
        assert_eq!(drops.count(), 2);
        assert_eq!(caught(|| each(10)), Some(1));
        assert_eq!(caught(|| each(20)), Some(1));
        assert_eq!(drops.count(), 4);
        (ID.get(), copy_context().len())
    });
    assert_eq!((inner, ID.get()), ((Some(2), 1), Some(1)));
    drop(again);
    assert_eq!(drops.count(), 5);
    assert!(!copy_context().contains(&HELD));
}

#[test]
fn what_a_shared_context_says_is_not_touched() {
    let shared = Context::new().with_value(&ID, 1).share();
    let bound = shared.run(|| shim::bind(|| replaced(2))).unwrap();
    let each = shared.run(|| shim::bind_fn(replaced)).unwrap();
    // Also while it is entered.
    let seen = shared.run(|| (bound(), each(3), ID.get())).unwrap();
    assert_eq!(seen, (Some(1), Some(1), Some(1)));
    assert_eq!(shared.get(&ID), Some(1));
}

type Work = Box<dyn FnOnce() + Send>;

/// On this thread, where a callback has run when the turn is over, and the time passes at once.
fn on_a_loop(future: impl Future<Output = ()>) {
    EventLoop::with_virtual_clock().run_until_complete(future);
}

/// Hands a function over to something that calls it, here or elsewhere.
type HandOver = fn(Work);

/// Whatever takes a function. The shim's own hops start in a copy of the context of whoever calls
/// them, and what is bound is in its own all the same.
const HOPS: [(&str, HandOver); 12] = [
    ("a call", |f| f()),
    ("run", |f| Context::new().with_value(&ID, 50).run(f)),
    ("an iterator", |f| [f].into_iter().for_each(|f| f())),
    ("std::thread::spawn", |f| {
        thread::spawn(f).join().unwrap();
    }),
    ("std::thread::scope", |f| {
        thread::scope(|scope| scope.spawn(f).join().unwrap());
    }),
    ("a channel", |f| {
        let (sender, receiver) = mpsc::channel::<Work>();
        let worker = thread::spawn(move || receiver.into_iter().for_each(|f| f()));
        sender.send(f).unwrap();
        drop(sender);
        worker.join().unwrap();
    }),
    ("shim::thread::spawn", |f| {
        shim::thread::spawn(f).join().unwrap();
    }),
    ("spawn_blocking", |f| {
        on_a_loop(async { shim::spawn_blocking(f).await.unwrap() });
    }),
    ("call_soon", |f| {
        on_a_loop(async {
            shim::call_soon(f);
            shim::yield_now().await;
        });
    }),
    ("call_later", |f| {
        on_a_loop(async {
            shim::call_later(Duration::from_secs(1), f);
            shim::sleep(Duration::from_secs(2)).await;
        });
    }),
    ("a done callback", |f| {
        on_a_loop(async {
            let task = shim::spawn(async {});
            task.add_done_callback(f);
            task.await.unwrap();
            shim::yield_now().await;
        });
    }),
    ("a task", |f| {
        on_a_loop(async { shim::spawn(async { f() }).await.unwrap() });
    }),
];

#[test]
fn bound_functions_keep_their_context_in_every_hop() {
    for (name, hand_over) in HOPS {
        let drops = Drops::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        ID.set(1);
        HELD.set(drops.value());
        let each = shim::bind_fn({
            let seen = Arc::clone(&seen);
            move |n| {
                seen.lock().unwrap().push(replaced(n));
                assert!(copy_context().contains(&HELD));
            }
        });
        let once = shim::bind({
            let seen = Arc::clone(&seen);
            move || {
                seen.lock().unwrap().push(replaced(2));
                // Bound functions call each other, each in its own.
                each(3);
                each(4);
                assert_eq!(ID.get(), Some(2));
            }
        });
        HELD.unset();
        ID.set(9);
        assert_eq!(drops.count(), 0, "{name}");
        hand_over(Box::new(once));
        assert_eq!(*seen.lock().unwrap(), [Some(1); 3], "{name}");
        // Both contexts and both functions are gone with the call.
        assert_eq!(drops.count(), 1, "{name}");
        assert_eq!(Arc::strong_count(&seen), 1, "{name}");
        assert_eq!(ID.get(), Some(9), "{name}");
    }
}
