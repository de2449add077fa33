//! Jobs that the shim did not start: what they read, and that they cannot write.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::thread;

use aiocontextvars::shim::{self, ContextAwareExecutor};
use aiocontextvars::{
    Context, ContextExt, ResetErrorKind, Scoped, SetErrorKind, SharedContext, Token, copy_context,
    inherit_context,
};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{CONNECTION, HELD, ID, Log, assert_left_nothing, pool};

/// What there is to read: two variables, and how many values the copies have.
type Seen = (Option<u64>, Option<u64>, [usize; 2]);

const NOTHING: Seen = (None, None, [0, 0]);

fn see() -> Seen {
    let sizes = [copy_context().len(), inherit_context().len()];
    assert!(HELD.with(|held| held.is_none()));
    (ID.get(), CONNECTION.get(), sizes)
}

/// The message with which `f` panics. Empty if it does not.
fn message(f: &dyn Fn()) -> String {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(()) => String::new(),
        // The errors' messages are formatted ones.
        Err(panic) => panic
            .downcast()
            .map_or_else(|_| "another".to_owned(), |text| *text),
    }
}

/// Jobs of nobody's, with what they are given of whoever waits.
#[derive(Default)]
struct Bare {
    token: Mutex<Option<Token<u64>>>,
    guard: Mutex<Option<Scoped<'static, u64>>>,
    seen: Log<Seen>,
    /// The writes that were not refused as they should be.
    faults: Log<String>,
}

impl Bare {
    /// Starts two, one after the other on a pool of one thread.
    fn start(self: &Arc<Self>) {
        for _ in 0..2 {
            let bare = Arc::clone(self);
            // On the worker's own deque: it is what the worker has next.
            rayon::spawn(move || bare.run());
        }
    }

    /// Waits for both on another thread.
    fn wait(&self) {
        while self.seen.0.lock().unwrap().len() < 2 {
            thread::yield_now();
        }
    }

    fn run(&self) {
        let before = see();
        self.try_all_writes();
        // In contexts of its own it may do what it likes.
        let own = Context::new().with_value(&ID, 5);
        own.call(|| ID.set(6));
        ID.sync_scope(5, || ID.set(6));
        SharedContext::new().run(|| ID.set(6)).unwrap();
        own.bind(|| ID.set(6))();
        shim::block_on(async { ID.set(6) });
        self.expect("what is seen afterwards", see(), before);
        self.seen.push(before);
    }

    fn expect<T: PartialEq + std::fmt::Debug>(&self, what: &str, found: T, expected: T) {
        if found != expected {
            self.faults.push(format!("{what}: {found:?}"));
        }
    }

    fn try_all_writes(&self) {
        let of_a_variable = "context variable `ID` cannot be set here: this job has no context";
        let of_a_context =
            "the values of a context cannot be applied here: this job has no context";
        let writes: [(&str, &str, &dyn Fn()); 5] = [
            ("set", of_a_variable, &|| drop(ID.set(99))),
            ("unset", of_a_variable, &|| drop(ID.unset())),
            ("update", of_a_variable, &|| {
                drop(ID.update(|_| unreachable!()))
            }),
            ("scoped", of_a_variable, &|| drop(ID.scoped(99))),
            ("apply", of_a_context, &|| {
                Context::new().with_value(&ID, 99).apply()
            }),
        ];
        for (name, expected, write) in writes {
            let message = message(write);
            self.expect(name, message.get(..expected.len()), Some(expected));
            for remedy in ["`aiocontextvars::shim::rayon`", "`Context::call`"] {
                self.expect(&message, message.contains(remedy), true);
            }
        }
        let refused = SetErrorKind::ForeignJob;
        let set = ID
            .try_set(99)
            .map_err(|error| (error.kind(), error.into_value()));
        self.expect("try_set", set.err(), Some((refused, 99)));
        let unset = ID.try_unset().map_err(|error| error.kind());
        self.expect("try_unset", unset.err(), Some(refused));
        let update = ID
            .try_update(|_| unreachable!())
            .map_err(|error| error.kind());
        self.expect("try_update", update.err(), Some(refused));
        let scoped = ID
            .try_scoped(99)
            .map_err(|error| (error.kind(), error.into_value()));
        self.expect(
            "try_scoped",
            scoped.err().map(|(kind, _)| kind),
            Some(refused),
        );
        let applied = Context::new().with_value(&ID, 99).try_apply();
        self.expect(
            "try_apply",
            applied.map_err(|error| error.kind()),
            Err(refused),
        );
        // The token is good for where it comes from, and so is the end of the guard.
        let token = self.token.lock().unwrap().take();
        if let Some(token) = token {
            match ID.reset(token) {
                Ok(()) => self.faults.push("reset".to_owned()),
                Err(error) => {
                    self.expect("reset", error.kind(), ResetErrorKind::DifferentContext);
                    *self.token.lock().unwrap() = Some(error.into_token());
                }
            }
        }
        drop(self.guard.lock().unwrap().take());
    }

    /// Calls `wait`, which starts the two and waits, where [`ID`] is 1. Then checks what the jobs
    /// have found, and that the context is as it was.
    fn check(self: &Arc<Self>, name: &str, wait: impl FnOnce()) {
        *self.token.lock().unwrap() = Some(ID.set(2));
        CONNECTION.set(5);
        *self.guard.lock().unwrap() = Some(CONNECTION.scoped(6));
        wait();
        assert_eq!(self.faults.take(), [""; 0], "{name}");
        assert_eq!(self.seen.take(), [NOTHING; 2], "{name}");
        assert_eq!(see(), (Some(2), Some(5), [2, 1]), "{name}");
        let token = self.token.lock().unwrap().take().unwrap();
        ID.reset(token).unwrap();
        assert_eq!(ID.get(), Some(1), "{name}");
    }
}

/// Starts bare jobs on a pool of one thread, and waits in a way that has the thread run them.
type Wait = (&'static str, fn(&ThreadPool, &Arc<Bare>));

/// For a job of that pool. They are given another one.
const OF_A_WORKER: [Wait; 12] = [
    ("join", |_, bare| {
        shim::rayon::join(|| bare.start(), || ());
    }),
    ("scope", |_, bare| {
        shim::rayon::scope(|scope| {
            // What the scope waits for.
            scope.spawn(|_| ());
            bare.start();
        });
    }),
    ("Scope::spawn", |_, bare| {
        shim::rayon::scope(|scope| {
            scope.spawn(|scope| {
                scope.spawn(|_| ());
                bare.start();
            });
        });
    }),
    ("broadcast", |_, bare| {
        bare.start();
        shim::rayon::broadcast(|_| ());
    }),
    ("a parallel iterator", |_, bare| {
        start_in(bare, (0..2).into_par_iter().in_current_context())
    }),
    ("a bare join, apart", |_, bare| {
        shim::rayon::apart(|_| rayon::join(|| bare.start(), || ()));
    }),
    ("a bare scope, apart", |_, bare| {
        shim::rayon::apart(|_| {
            rayon::scope(|scope| {
                scope.spawn(|_| ());
                bare.start();
            })
        });
    }),
    ("a bare parallel iterator, apart", |_, bare| {
        shim::rayon::apart(|_| start_in(bare, (0..2).into_par_iter()));
    }),
    ("a bare yield, apart", |_, bare| {
        bare.start();
        shim::rayon::apart(|_| [rayon::yield_now(), rayon::yield_now()]);
    }),
    ("another pool's install", |other, bare| {
        bare.start();
        shim::rayon::on(other).install(|_| bare.wait());
    }),
    ("another pool's join", |other, bare| {
        bare.start();
        shim::rayon::on(other).join(|| bare.wait(), || ());
    }),
    ("another pool's broadcast", |other, bare| {
        bare.start();
        shim::rayon::on(other).broadcast(|_| bare.wait());
    }),
];

/// For a job of that pool, or for a thread outside, on whose behalf a worker waits. They are given
/// the pool.
const OF_A_POOL: [Wait; 5] = [
    ("Pool::join", |pool, bare| {
        shim::rayon::on(pool).join(|| bare.start(), || ());
    }),
    ("Pool::scope", |pool, bare| {
        shim::rayon::on(pool).scope(|scope| {
            scope.spawn(|_| ());
            bare.start();
        });
    }),
    ("a bare join in Pool::install", |pool, bare| {
        shim::rayon::on(pool).install(|_| rayon::join(|| bare.start(), || ()));
    }),
    ("a parallel iterator in Pool::install", |pool, bare| {
        shim::rayon::on(pool).install(|context| {
            start_in(bare, (0..2).into_par_iter().in_context(context.clone()));
        });
    }),
    ("a parallel iterator in a bare install", |pool, bare| {
        let items = (0..2).into_par_iter().in_current_context();
        pool.install(|| start_in(bare, items));
    }),
];

/// Starts them in the job of the first item.
fn start_in(bare: &Arc<Bare>, items: impl ParallelIterator<Item = u32>) {
    items.for_each(|item| {
        if item == 0 {
            bare.start();
        }
    });
}

#[test]
fn th_05_bare_jobs_in_a_wait_neither_see_nor_change_the_context_of_who_waits() {
    let (pool, other) = (pool(1), pool(1));
    let bare = Arc::<Bare>::default();
    ID.set(1);
    let job = || {
        for (name, wait) in OF_A_WORKER {
            bare.check(name, || wait(&other, &bare));
        }
        for (name, wait) in OF_A_POOL {
            bare.check(name, || wait(&pool, &bare));
        }
    };
    shim::rayon::on(&pool).install(|context| context.call(job));
    assert_eq!(ID.get(), Some(1));
    assert_left_nothing(&pool);
    assert_left_nothing(&other);
}

#[test]
fn th_05_bare_jobs_in_a_wait_of_a_task_neither_see_nor_change_its_context() {
    let (pool, other) = (Arc::new(pool(1)), pool(1));
    let executor = ContextAwareExecutor::new(Arc::clone(&pool));
    ID.set(1);
    let task = executor.spawn(async move {
        let bare = Arc::<Bare>::default();
        for (name, wait) in OF_A_WORKER {
            bare.check(name, || wait(&other, &bare));
        }
    });
    executor.block_on(task).unwrap();
    assert_eq!(ID.get(), Some(1));
    assert_left_nothing(&pool);
}

#[test]
fn th_05_bare_jobs_in_a_wait_on_behalf_of_a_thread_see_and_leave_nothing() {
    let pool = pool(1);
    let bare = Arc::<Bare>::default();
    ID.set(1);
    for (name, wait) in OF_A_POOL {
        bare.check(name, || wait(&pool, &bare));
        assert_left_nothing(&pool);
    }
}

/// Two bare jobs in a wait of rayon's own, each of which notes what it reads and sets a value.
/// Returns what they have found, and what whoever waits has afterwards.
fn in_a_bare_join() -> (Vec<Option<u64>>, Option<u64>) {
    let seen = Log::default();
    let spawn = |value| {
        let seen = seen.clone();
        rayon::spawn(move || {
            seen.push(ID.get());
            ID.set(value);
        });
    };
    rayon::join(|| [98, 99].map(spawn), || ());
    (seen.take(), ID.get())
}

/// What the documentation warns of, and the ways around it.
#[test]
fn bare_jobs_share_the_context_of_a_job_that_waits_by_rayons_own_means() {
    let pool = pool(1);
    ID.set(1);
    let ((seen, after), ()) = shim::rayon::on(&pool).join(in_a_bare_join, || ());
    assert_eq!((seen, after), (vec![Some(1), Some(99)], Some(98)));
    assert_eq!(ID.get(), Some(1));
    assert_left_nothing(&pool);
}

/// The kind of error with which a write is refused here.
fn refusal() -> Option<SetErrorKind> {
    ID.try_set(99).map_err(|error| error.kind()).err()
}

#[test]
fn th_05_bare_jobs_on_a_worker_that_waits_in_nothing_neither_read_nor_write() {
    let pool = pool(2);
    let bare = Arc::<Bare>::default();
    ID.set(1);
    for _ in 0..2 {
        pool.install(|| bare.run());
        pool.install(|| rayon::join(|| bare.run(), || bare.run()));
        pool.install(|| rayon::scope(|scope| scope.spawn(|_| bare.run())));
        pool.broadcast(|_| bare.run());
        // Jobs that have a context read and write what is theirs, also if a bare job starts them.
        let set = || (ID.get(), drop(ID.set(98)), ID.get());
        let own = shim::rayon::on(&pool).join(set, set);
        assert_eq!(own, ((Some(1), (), Some(98)), (Some(1), (), Some(98))));
        let nested = pool.install(|| shim::rayon::join(set, set));
        assert_eq!(nested, ((None, (), Some(98)), (None, (), Some(98))));
    }
    assert_eq!(bare.faults.take(), [""; 0]);
    assert_eq!(bare.seen.take(), [NOTHING; 12]);
    assert_eq!(ID.get(), Some(1));
}

#[test]
fn bare_jobs_read_what_their_threads_were_started_in() {
    let context = Context::new().with_value(&ID, 7);
    let pool = ThreadPoolBuilder::new()
        .num_threads(1)
        .spawn_handler(|worker| {
            let context = context.clone();
            thread::spawn(move || context.call(|| worker.run()));
            Ok(())
        })
        .build()
        .unwrap();
    for _ in 0..2 {
        let seen = pool.install(|| (ID.get(), refusal()));
        assert_eq!(seen, (Some(7), Some(SetErrorKind::ForeignJob)));
    }
}

/// What the documentation warns of, and the way around it.
#[test]
fn a_thread_that_becomes_a_worker_counts_as_one() {
    let thread = thread::spawn(|| {
        ID.set(1);
        let builder = ThreadPoolBuilder::new().num_threads(1);
        let _pool = builder.use_current_thread().build().unwrap();
        assert_eq!(
            (ID.get(), refusal()),
            (None, Some(SetErrorKind::ForeignJob))
        );
        Context::new().run(|| {
            ID.set(2);
            assert_eq!(ID.get(), Some(2));
        });
    });
    thread.join().unwrap();
}

#[test]
fn in_an_empty_context_they_see_what_others_have_set_there() {
    let pool = pool(1);
    ID.set(1);
    let job = || (Context::new().run(in_a_bare_join), ID.get());
    let (((seen, after), own), ()) = shim::rayon::on(&pool).join(job, || ());
    assert_eq!((seen, after), (vec![None, Some(99)], Some(98)));
    assert_eq!((own, ID.get()), (Some(1), Some(1)));
    assert_left_nothing(&pool);
}

#[test]
fn apart_they_see_nothing_and_a_write_is_an_error() {
    let pool = pool(1);
    ID.set(1);
    let job = || {
        let seen = Log::default();
        let spawn = |value| {
            let seen = seen.clone();
            rayon::spawn(move || seen.push((ID.get(), ID.try_set(value).is_ok())));
        };
        shim::rayon::apart(|context| {
            rayon::join(|| [98, 99].map(spawn), || ());
            (seen.take(), ID.get(), context.get(&ID).copied())
        })
    };
    let ((seen, inside, handed), own) = shim::rayon::on(&pool).join(job, || ID.get());
    assert_eq!(seen, [(None, false); 2]);
    assert_eq!((inside, handed, own), (None, Some(1), Some(1)));
    assert_left_nothing(&pool);
}
