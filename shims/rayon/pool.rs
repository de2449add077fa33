//! [`Pool`]: the functions of the module, for a pool that is a value.

use ::rayon::{BroadcastContext, ThreadPool};

use super::{JobContext, Scope, job, leave, pair, run};
use crate::context::Context;
use crate::current;
use crate::shim::scope;
use crate::with_context::ContextExt;

/// A pool whose jobs inherit; made by [`on`](super::on()).
///
/// A caller that is no worker waits without running jobs. A worker of another pool runs jobs of its
/// own pool meanwhile, which see nothing of the caller's context.
///
/// # Examples
///
/// See [`on`](super::on()).
#[derive(Clone, Copy, Debug)]
#[must_use = "it does nothing until one of its methods is called"]
pub struct Pool<'a>(&'a ThreadPool);

impl<'a> Pool<'a> {
    pub(super) fn new(pool: &'a ThreadPool) -> Pool<'a> {
        Pool(pool)
    }
}

impl Pool<'_> {
    /// As [`spawn`](super::spawn()).
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// aiocontextvars::shim::rayon::on(&pool).spawn(move || sender.send(1).unwrap());
    /// assert_eq!(receiver.recv(), Ok(1));
    /// ```
    pub fn spawn(self, f: impl FnOnce() + Send + 'static) {
        self.spawn_in(current::inherit(), f);
    }

    /// As [`spawn_in`](super::spawn_in()).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, shim};
    ///
    /// # let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    /// // A job that pins no values of whoever starts it.
    /// shim::rayon::on(&pool).spawn_in(Context::new(), || ());
    /// ```
    pub fn spawn_in(self, context: Context, f: impl FnOnce() + Send + 'static) {
        self.0.spawn(job(context, f));
    }

    /// `ThreadPool::install`: runs `f` on a worker of the pool, [apart](super::apart) from the
    /// caller's context, and hands it a copy of that, taken now.
    ///
    /// What `f` calls of rayon directly waits inside of `f`, where the worker may run jobs of
    /// others. So `f` is not in the context. Put parallel iterators into it by
    /// [`in_context`](crate::ContextExt::in_context), and call other code by [`Context::call`].
    ///
    /// # Panics
    ///
    /// If `f` does.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{ContextExt, context_var, shim};
    /// use rayon::prelude::*;
    ///
    /// context_var! { static FACTOR: u64 = 1; }
    ///
    /// # let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    /// FACTOR.set(2);
    /// let sum: u64 = shim::rayon::on(&pool).install(|context| {
    ///     let items = (0..100_u64).into_par_iter().in_context(context.clone());
    ///     items.map(|item| item * FACTOR.get()).sum()
    /// });
    /// assert_eq!(sum, 9900);
    /// ```
    pub fn install<T: Send>(self, f: impl FnOnce(&Context) -> T + Send) -> T {
        let context = JobContext(current::inherit());
        self.wait(|| f(context.get()))
    }

    /// As [`join`](super::join()).
    ///
    /// # Panics
    ///
    /// As [`join`](super::join()).
    ///
    /// # Examples
    ///
    /// See [`on`](super::on()).
    pub fn join<A, B>(self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B)
    where
        A: Send,
        B: Send,
    {
        let (a, b) = pair(a, b);
        self.wait(|| ::rayon::join(a, b))
    }

    /// As [`scope`](super::scope()).
    ///
    /// # Panics
    ///
    /// As [`scope`](super::scope()).
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    /// let mut seen = None;
    /// aiocontextvars::shim::rayon::on(&pool).scope(|scope| scope.spawn(|_| seen = Some(1)));
    /// assert_eq!(seen, Some(1));
    /// ```
    pub fn scope<'scope, T: Send>(self, f: impl FnOnce(Scope<'_, 'scope>) -> T + Send) -> T {
        let f = f.in_current_context();
        self.wait(|| ::rayon::scope(|scope| run(f, |f| f(Scope::new(scope)))))
    }

    /// As [`broadcast`](super::broadcast()).
    ///
    /// # Panics
    ///
    /// As [`broadcast`](super::broadcast()).
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    /// let indexes = aiocontextvars::shim::rayon::on(&pool).broadcast(|thread| thread.index());
    /// assert_eq!(indexes, [0, 1]);
    /// ```
    pub fn broadcast<T: Send>(self, f: impl Fn(BroadcastContext<'_>) -> T + Sync) -> Vec<T> {
        let f = f.in_current_context();
        leave(|| {
            self.0
                .broadcast(|thread| f.call(Some(scope::NOWHERE), thread))
        })
    }

    /// As [`wait`](super::wait), on a worker of the pool.
    fn wait<T: Send>(self, f: impl FnOnce() -> T + Send) -> T {
        leave(|| self.0.install(|| leave(f)))
    }
}
