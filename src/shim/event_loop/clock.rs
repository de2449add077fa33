//! The loop's clock, and the timers that follow it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{self, Poll};
use std::time::Instant;

use futures::future::BoxFuture;
use futures::task::AtomicWaker;

use crate::context::Context;
use crate::shim::callback::{Call, CallHandle, TimerHandle};
use crate::shim::executor::Clock;
use crate::shim::queue::Queue;
use crate::shim::time::StdClock;

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
                timer: None,
            }),
            None => StdClock.sleep_until(at),
        }
    }
}

struct LoopSleep {
    at: Instant,
    queue: Arc<Queue>,
    timer: Option<(TimerHandle, Arc<Alarm>)>,
}

#[derive(Default)]
struct Alarm {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Future for LoopSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        if self.timer.is_none() {
            if self.at <= self.queue.clock().now() {
                return Poll::Ready(());
            }
            let alarm = Arc::new(Alarm::default());
            let ring = Arc::clone(&alarm);
            let call = Call::new(Context::new(), move || {
                ring.rung.store(true, Ordering::Release);
                ring.waker.wake();
            });
            let id = self.queue.push(call, Some(self.at));
            let handle = TimerHandle::new(CallHandle::new(&self.queue, id), self.at);
            self.timer = Some((handle, alarm));
        }
        let Some((_, alarm)) = &self.timer else {
            return Poll::Ready(());
        };
        alarm.waker.register(cx.waker());
        if alarm.rung.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for LoopSleep {
    fn drop(&mut self) {
        if let Some((timer, _)) = &self.timer {
            timer.cancel();
        }
    }
}
