//! What the shim has of a browser's platform: its clock, `setTimeout`, and no threads.
//!
//! Stands in the place of `src/shim/platform.rs`, for all executors.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use futures_core::future::BoxFuture;
use wasm_bindgen::prelude::{Closure, JsValue, wasm_bindgen};

use crate::id::{self, BuildIdHasher};
use crate::sync::WakerCell;

pub use web_time::Instant;

#[wasm_bindgen]
extern "C" {
    /// Returns a number in browsers, and an object elsewhere.
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &JsValue, milliseconds: f64) -> JsValue;

    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);
}

/// Runs `work` in a later turn of the browser's event loop, which waits for it: there are no
/// threads.
pub(crate) fn submit(work: impl FnOnce() + Send + 'static) -> Result<(), Infallible> {
    let work = AssertUnwindSafe(work);
    let call = move || {
        // As a whole: the mark is what counts.
        let work = work;
        work.0();
    };
    set_timeout(&Closure::once_into_js(call), 0.0);
    Ok(())
}

/// Completes after `duration`, or earlier if that is more than `setTimeout` can wait.
pub(crate) fn sleep(duration: Duration) -> BoxFuture<'static, ()> {
    Box::pin(Timeout::new(duration))
}

thread_local! {
    /// The timers of this thread: what cancels each and what it calls.
    static TIMERS: RefCell<HashMap<u64, (JsValue, Closure<dyn FnMut()>), BuildIdHasher>> =
        RefCell::default();
}

/// A timer. What JavaScript has of it stays on the thread that has made it; the rest may go
/// anywhere.
struct Timeout {
    id: u64,
    alarm: Arc<Alarm>,
}

#[derive(Default)]
struct Alarm {
    rung: AtomicBool,
    waker: WakerCell,
}

impl Timeout {
    fn new(duration: Duration) -> Timeout {
        // More overflows a number of 32 bits there, and fires at once.
        const LONGEST: f64 = i32::MAX as f64;

        let id = id::next();
        let alarm = Arc::new(Alarm::default());
        let ring = {
            let alarm = Arc::clone(&alarm);
            Closure::once(move || {
                // Not dropped under the borrow.
                let timer = TIMERS.with_borrow_mut(|timers| timers.remove(&id));
                drop(timer);
                alarm.rung.store(true, Ordering::Release);
                alarm.waker.wake();
            })
        };
        let milliseconds = (duration.as_secs_f64() * 1e3).ceil().min(LONGEST);
        let timer = set_timeout(ring.as_ref(), milliseconds);
        TIMERS.with_borrow_mut(|timers| timers.insert(id, (timer, ring)));
        Timeout { id, alarm }
    }
}

impl Future for Timeout {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        self.alarm.waker.register(cx.waker());
        if self.alarm.rung.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Timeout {
    fn drop(&mut self) {
        // On another thread there is none of this id, and the timer fires for nobody.
        let timer = TIMERS.try_with(|timers| timers.borrow_mut().remove(&self.id));
        if let Ok(Some((timer, _ring))) = timer {
            clear_timeout(&timer);
        }
    }
}
