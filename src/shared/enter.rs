//! Entering a [`SharedContext`], and waiting until that is possible.

use std::mem;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

use super::{SharedContext, State};
use crate::catch::in_destructor;
use crate::current::{self, Frame, Owner, Users};
use crate::error::AlreadyEntered;
use crate::sync::thread;

impl SharedContext {
    /// Calls `f` in this context and returns its result. What `f` sets stays in the context.
    ///
    /// # Errors
    ///
    /// [`AlreadyEntered`] if the context is entered, on this thread or another; `f` is not called
    /// then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{SharedContext, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// let shared = SharedContext::new();
    /// shared.run(|| {
    ///     LEVEL.set(1);
    ///     // A live view, also while the context is entered.
    ///     assert_eq!(shared.get(&LEVEL), Some(1));
    /// })?;
    /// # Ok::<(), aiocontextvars::AlreadyEntered>(())
    /// ```
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> Result<R, AlreadyEntered> {
        let frame = self.acquire(Owner::Call.users());
        let frame = frame.ok_or(AlreadyEntered { _private: () })?;
        Ok(frame.enter(f))
    }

    /// The frame for this context, which is entered from now on; `None` if it was already.
    fn acquire(&self, users: Users) -> Option<Frame> {
        let mut state = self.lock();
        if mem::replace(&mut state.entered, true) {
            return None;
        }
        Some(self.frame(&state, users))
    }

    fn frame(&self, state: &State, users: Users) -> Frame {
        Frame::shared(self.clone(), state.context.alias(), users)
    }

    /// Parks the calling thread until it may enter. For threads of their own, which may block.
    pub(crate) fn acquire_blocking(&self) -> Frame {
        let users = Owner::Call.users();
        let mut waiter = Waiter::from(self.clone());
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match waiter.poll_frame(users, &mut task::Context::from_waker(&waker)) {
                Poll::Ready(Some(frame)) => return frame,
                Poll::Ready(None) => unreachable!("a new thread is in no frame of this context"),
                Poll::Pending => thread::park(),
            }
        }
    }
}

struct Unpark(thread::Thread);

impl task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A place from which a shared context is entered again and again: a task's, for example.
#[derive(Debug, Default)]
pub struct Waiter {
    /// `None` once moved out.
    shared: Option<SharedContext>,
    ticket: WaitTicket,
}

/// The waiter's place in the queue, if it has had to wait since it was last inside. Beside it, in
/// the highest bit, whether what is current on a thread is hidden inside.
#[derive(Clone, Copy, Debug, Default)]
struct WaitTicket(u64);

impl WaitTicket {
    const APART: u64 = 1 << 63;

    fn get(self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.0 & !WaitTicket::APART)
    }

    fn set(&mut self, ticket: NonZeroU64) {
        self.0 = ticket.get() | self.0 & WaitTicket::APART;
    }

    fn take(&mut self) -> Option<NonZeroU64> {
        let ticket = self.get();
        self.0 &= WaitTicket::APART;
        ticket
    }

    fn set_apart(&mut self) {
        self.0 |= WaitTicket::APART;
    }

    fn is_apart(self) -> bool {
        self.0 & WaitTicket::APART != 0
    }
}

impl From<SharedContext> for Waiter {
    fn from(shared: SharedContext) -> Waiter {
        Waiter {
            shared: Some(shared),
            ticket: WaitTicket::default(),
        }
    }
}

impl Waiter {
    /// The same for a unit of work, in which nothing is current: a shared context has no
    /// companions.
    pub(crate) fn apart(mut self) -> Waiter {
        self.ticket.set_apart();
        self
    }

    fn enters(&self, frame: Frame) -> Frame {
        match self.ticket.is_apart() {
            true => frame.apart(),
            false => frame,
        }
    }

    pub(crate) fn shared(&self) -> Option<&SharedContext> {
        self.shared.as_ref()
    }

    /// The frame for the context, which is entered from now on, or asks to be woken when it is
    /// free. `None`: this thread's innermost frame is this context already.
    pub(crate) fn poll_frame(
        &mut self,
        users: Users,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Frame>> {
        let Some(shared) = &self.shared else {
            return Poll::Ready(None);
        };
        if current::is_innermost(shared) {
            return Poll::Ready(None);
        }
        if self.ticket.get().is_none() {
            // The common case needs no waker.
            if let Some(frame) = shared.acquire(users) {
                return Poll::Ready(Some(self.enters(frame)));
            }
        }
        // Wakers are user code: cloned before the lock is taken, dropped after it is released.
        let waker = cx.waker().clone();
        let mut state = shared.lock();
        if state.entered {
            let ticket = self.ticket.get().unwrap_or_else(|| {
                state.last_ticket += 1;
                NonZeroU64::MIN.saturating_add(state.last_ticket)
            });
            self.ticket.set(ticket);
            let old = state.waiters.insert(ticket, waker);
            drop(state);
            drop(old);
            return Poll::Pending;
        }
        state.entered = true;
        let frame = shared.frame(&state, users);
        let old = self
            .ticket
            .take()
            .and_then(|ticket| state.waiters.remove(&ticket));
        drop(state);
        // If a destructor panics, the frame goes, and so the context is left.
        current::enter_empty(|| drop((old, waker)));
        Poll::Ready(Some(self.enters(frame)))
    }

    /// The frame for the context, or for a copy of it if it is taken. `None`: it is this thread's
    /// innermost frame.
    pub(crate) fn frame_now(&self, users: Users) -> Option<Frame> {
        let shared = self.shared.as_ref()?;
        if current::is_innermost(shared) {
            return None;
        }
        let taken = || Frame::new(shared.copy(), users);
        Some(self.enters(shared.acquire(users).unwrap_or_else(taken)))
    }
}

impl Waiter {
    /// Drops the reference to the context, and if it is the last one, the values in an empty
    /// context.
    pub(crate) fn release(mut self) {
        self.stop_waiting();
        let last = self.shared.take().and_then(SharedContext::into_last);
        last.into_iter().for_each(current::drop_values);
    }

    fn stop_waiting(&mut self) {
        if let (Some(shared), Some(ticket)) = (&self.shared, self.ticket.take()) {
            let waiting = shared.lock().waiters.remove(&ticket);
            in_destructor(|| drop(waiting));
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}
