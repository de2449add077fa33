//! The loop's clock, and the timers that follow it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{self, Poll};

use futures_core::future::BoxFuture;

use crate::catch::in_destructor;
use crate::context::Context;
use crate::shim::call_handle::TimerHandle;
use crate::shim::callback::Call;
use crate::shim::clock::{Clock, StdClock};
use crate::shim::platform::Instant;
use crate::shim::queue::Queue;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, WakerCell};

/// The clock of a loop, real or virtual. Its timers wait in the loop's own queue.
pub(super) struct LoopClock {
    virtual_now: Option<Mutex<Instant>>,
    queue: Mutex<Weak<Queue>>,
}

impl LoopClock {
    /// The operating system's clock, or one that starts at `virtual_start`.
    pub(super) fn new(virtual_start: Option<Instant>) -> LoopClock {
        LoopClock {
            virtual_now: virtual_start.map(Mutex::new),
            queue: Mutex::new(Weak::new()),
        }
    }

    /// Names the queue in which timers wait, which is made with this clock.
    pub(super) fn attach(&self, queue: &Arc<Queue>) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(queue);
    }

    /// Jumps to `when`, if the clock is virtual.
    pub(super) fn jump_to(&self, when: Instant) -> bool {
        let Some(now) = &self.virtual_now else {
            return false;
        };
        let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = when.max(*now);
        true
    }
}

impl Clock for LoopClock {
    fn now(&self) -> Instant {
        match &self.virtual_now {
            Some(now) => *now.lock().unwrap_or_else(PoisonError::into_inner),
            None => Instant::now(),
        }
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let queue = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade();
        match queue {
            Some(queue) => Box::pin(LoopSleep {
                at,
                queue,
                state: SleepState::New,
            }),
            None => StdClock.sleep_until(at),
        }
    }
}

struct LoopSleep {
    at: Instant,
    queue: Arc<Queue>,
    state: SleepState,
}

enum SleepState {
    New,
    Waiting(TimerHandle, Arc<Alarm>),
    /// The loop went before its time had come.
    Orphaned(BoxFuture<'static, ()>),
}

#[derive(Default)]
struct Alarm {
    rung: AtomicBool,
    waker: WakerCell,
}

/// Rings when dropped: called or not, the sleeper has to hear of it.
struct Ring(Arc<Alarm>);

impl Drop for Ring {
    fn drop(&mut self) {
        self.0.rung.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

impl Future for LoopSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        loop {
            let is_over = self.at <= self.queue.clock().now();
            match &mut self.state {
                SleepState::New if is_over => return Poll::Ready(()),
                SleepState::New => {
                    let alarm = Arc::new(Alarm::default());
                    let ring = Ring(Arc::clone(&alarm));
                    let call = Call::new(Context::new(), None, move || drop(ring));
                    // The loop drives its queue as long as it exists; a driver has nowhere to run
                    // after that.
                    self.queue.push(&call, Some(self.at), &mut drop);
                    let handle = TimerHandle::new(call, self.at, &self.queue);
                    self.state = SleepState::Waiting(handle, alarm);
                }
                SleepState::Waiting(_, alarm) => {
                    alarm.waker.register(cx.waker());
                    if !alarm.rung.load(Ordering::Acquire) {
                        return Poll::Pending;
                    }
                    // Asked again: the time may have come since.
                    if self.at <= self.queue.clock().now() {
                        return Poll::Ready(());
                    }
                    self.state = SleepState::Orphaned(StdClock.sleep_until(self.at));
                }
                SleepState::Orphaned(sleep) => return sleep.as_mut().poll(cx),
            }
        }
    }
}

impl Drop for LoopSleep {
    fn drop(&mut self) {
        if let SleepState::Waiting(timer, alarm) = &self.state {
            // Its task sleeps no more, and is not to be woken by the alarm's end.
            let waker = alarm.waker.clear();
            timer.cancel();
            in_destructor(|| drop(waker));
        }
    }
}
