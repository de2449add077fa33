//! Done-callbacks: what is called when a task has ended.

use super::callback::Call;
use super::join::JoinHandle;
use super::join::done::{DoneCallbackId, Notice};
use super::search;
use crate::task_context::TaskContext;

impl<T> JoinHandle<T> {
    /// Has `f` called when the task has ended, whichever way, in a copy of the current context,
    /// taken now.
    ///
    /// The callback goes to the executor that is [current](super#which-executor) here, as by
    /// [`call_soon`](super::call_soon): it takes its place in that executor's queue when the task
    /// has ended, and at once if it has ended already. It is called too if the handle is dropped.
    /// Whose context the end comes in makes no difference. When the task has ended, nothing is kept
    /// of the callbacks; if the executor goes before, they are dropped, each inside its context.
    ///
    /// For the task's output, await the handle.
    ///
    /// # Panics
    ///
    /// If there is no current executor: the message is that of [`NoRuntime`](super::NoRuntime).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{context_var, shim};
    ///
    /// context_var! { static REQUEST_ID: u64; }
    ///
    /// shim::block_on(async {
    ///     let (done, wait) = futures::channel::oneshot::channel();
    ///     REQUEST_ID.set(7);
    ///     let task = shim::spawn(async { REQUEST_ID.set(8); });
    ///     task.add_done_callback(|| done.send(REQUEST_ID.get()).unwrap());
    ///     REQUEST_ID.set(9);
    ///     assert_eq!(wait.await, Ok(Some(7)));
    /// });
    /// ```
    #[track_caller]
    pub fn add_done_callback(&self, f: impl FnOnce() + Send + 'static) -> DoneCallbackId {
        let destination = search::expect_destination();
        let call = Call::new(destination.new_context(), destination.fixed(), f);
        self.add_notice(Notice::Call(call, destination.reserve()))
    }

    /// As [`add_done_callback`](Self::add_done_callback), in `context`.
    ///
    /// # Panics
    ///
    /// As [`add_done_callback`](Self::add_done_callback).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{SharedContext, context_var, shim};
    ///
    /// context_var! { static OUTCOME: String; }
    ///
    /// let shared = SharedContext::new();
    /// shim::block_on(async {
    ///     let task = shim::spawn(async {});
    ///     task.add_done_callback_in(&shared, || { OUTCOME.set("done".to_owned()); });
    ///     while shared.is_empty() {
    ///         shim::yield_now().await;
    ///     }
    /// });
    /// assert_eq!(shared.get(&OUTCOME).as_deref(), Some("done"));
    /// ```
    #[track_caller]
    pub fn add_done_callback_in<C: TaskContext>(
        &self,
        context: C,
        f: impl FnOnce() + Send + 'static,
    ) -> DoneCallbackId {
        let destination = search::expect_destination();
        let call = Call::new(context, destination.fixed(), f);
        self.add_notice(Notice::Call(call, destination.reserve()))
    }
}
