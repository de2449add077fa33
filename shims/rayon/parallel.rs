//! Parallel iterators in a context: `ParallelIterator` for [`WithContext`].
//!
//! rayon turns an iterator's consumer into a folder for each job, feeds that, and asks for its
//! result. So it is the consumer that carries the context: when it is split, each half has a copy,
//! and what becomes of it in a job keeps that copy.

use std::mem;

use ::rayon::iter::ParallelIterator;
use ::rayon::iter::plumbing::{Consumer, Folder, Reducer, UnindexedConsumer};

use super::{JobContext, leave, run, wait};
use crate::current::{self, Entering, Owner};
use crate::shim::scope::NOWHERE;
use crate::with_context::{ContextExt, WithContext};

/// Each job of what consumes the iterator runs in a copy of the context. See
/// [`shim::rayon`](crate::shim::rayon#parallel-iterators).
impl<I: ParallelIterator> ParallelIterator for WithContext<I> {
    type Item = I::Item;

    fn drive_unindexed<C: UnindexedConsumer<I::Item>>(self, consumer: C) -> C::Result {
        let (iterator, context) = self.into_parts();
        let context = JobContext(context);
        let consumer = context.around(consumer);
        drop(context);
        // A single item makes no jobs, and stays on this thread, as ever.
        match iterator.opt_len() {
            Some(0 | 1) => leave(|| iterator.drive_unindexed(consumer)),
            _ => wait(|| iterator.drive_unindexed(consumer)),
        }
    }

    fn opt_len(&self) -> Option<usize> {
        self.inner().opt_len()
    }
}

impl JobContext {
    fn copy(&self) -> JobContext {
        JobContext(self.0.clone())
    }

    /// Puts `inner` into a copy of the context.
    fn around<T>(&self, inner: T) -> InJob<T> {
        InJob(inner.in_context(self.0.clone()))
    }

    /// Wraps `inner` in this very context.
    fn into_job<T>(mut self, inner: T) -> InJob<T> {
        InJob(inner.in_context(mem::take(&mut self.0)))
    }

    /// Whether nothing has been set in it since it was copied.
    fn is_as_given(&self) -> bool {
        self.0.id() == 0
    }

    fn enter<T>(&mut self, f: impl FnOnce() -> T) -> T {
        current::enter(&mut self.0, Entering::new(Owner::Call, Some(NOWHERE)), f)
    }
}

/// A consumer, what it becomes in a job, or a reducer. All that is done to it is done in its
/// context.
struct InJob<T>(WithContext<T>);

impl<T> InJob<T> {
    /// Makes something else of it, in its context.
    fn map<U>(self, f: impl FnOnce(T) -> U) -> InJob<U> {
        InJob(self.0.map_inner(Some(NOWHERE), f))
    }

    /// The same for the last time.
    fn finish<U>(self, f: impl FnOnce(T) -> U) -> U {
        run(self.0, f)
    }

    fn take_apart(self) -> (JobContext, T) {
        let (inner, context) = self.0.into_parts();
        (JobContext(context), inner)
    }

    fn job_context(&self) -> JobContext {
        JobContext(self.0.context().clone())
    }
}

impl<T, C: Consumer<T>> Consumer<T> for InJob<C> {
    type Folder = InJob<C::Folder>;
    type Reducer = InJob<C::Reducer>;
    type Result = C::Result;

    fn split_at(self, index: usize) -> (Self, Self, Self::Reducer) {
        let given = self.job_context();
        let (mut own, consumer) = self.take_apart();
        let (left, right, reducer) = own.enter(|| consumer.split_at(index));
        // One of the two is still what was given, or neither is needed any more.
        let of_left = if own.is_as_given() { own } else { given.copy() };
        let reducer = given.around(reducer);
        (of_left.into_job(left), given.into_job(right), reducer)
    }

    fn into_folder(self) -> Self::Folder {
        self.map(C::into_folder)
    }

    fn full(&self) -> bool {
        self.0.inner().full()
    }
}

impl<T, C: UnindexedConsumer<T>> UnindexedConsumer<T> for InJob<C> {
    fn split_off_left(&self) -> Self {
        let context = self.job_context();
        context.around(context.copy().enter(|| self.0.inner().split_off_left()))
    }

    fn to_reducer(&self) -> Self::Reducer {
        let context = self.job_context();
        context.around(context.copy().enter(|| self.0.inner().to_reducer()))
    }
}

impl<T, F: Folder<T>> Folder<T> for InJob<F> {
    type Result = F::Result;

    fn consume(self, item: T) -> Self {
        self.map(|folder| folder.consume(item))
    }

    /// Enters the context once for all items, and not for each.
    fn consume_iter<I: IntoIterator<Item = T>>(self, items: I) -> Self {
        self.map(|folder| folder.consume_iter(items))
    }

    fn complete(self) -> F::Result {
        self.finish(F::complete)
    }

    fn full(&self) -> bool {
        self.0.inner().full()
    }
}

impl<T, R: Reducer<T>> Reducer<T> for InJob<R> {
    fn reduce(self, left: T, right: T) -> T {
        self.finish(|reducer| reducer.reduce(left, right))
    }
}
