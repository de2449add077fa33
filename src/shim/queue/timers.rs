//! The timers of a queue.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use super::entry::Entry;
use crate::shim::callback::Call;
use crate::shim::platform::Instant;

/// What is not due yet, by deadline and then in the order of scheduling.
///
/// A cancelled timer leaves its closure and context at once, and its entry here until it comes
/// first or until half of the entries are like it. So cancelling takes constant time on average,
/// and the room is bounded by the live timers.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Timer>,
    next_serial: u64,
    /// About how many entries were cancelled: one may come first just when it is.
    cancelled: usize,
}

struct Timer {
    when: Instant,
    serial: u64,
    call: Call,
}

impl Timers {
    /// So many cancelled entries are not worth a look at all of them.
    const FEW: usize = 64;

    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Adds a timer. Returns whether it comes first now.
    pub(super) fn push(&mut self, when: Instant, call: Call) -> bool {
        let serial = self.next_serial;
        self.next_serial += 1;
        self.heap.push(Timer { when, serial, call });
        self.heap.peek().is_some_and(|first| first.serial == serial)
    }

    /// When the first of the timers is due. Clears away cancelled ones before it, so that nobody
    /// waits for them.
    pub(super) fn first(&mut self) -> Option<Instant> {
        while let Some(timer) = self.heap.peek() {
            if timer.call.is_pending() {
                return Some(timer.when);
            }
            self.pop();
        }
        None
    }

    /// Moves the timers that are due to the end of `ready`.
    pub(super) fn fire_due(&mut self, now: Instant, ready: &mut VecDeque<Entry>) {
        while self.heap.peek().is_some_and(|timer| timer.when <= now) {
            ready.extend(self.pop().map(Entry::Call));
        }
    }

    /// The first timer, unless it was cancelled: then its closure and context have gone already,
    /// and what is dropped here, under the queue's lock, runs no user code.
    fn pop(&mut self) -> Option<Call> {
        let call = self.heap.pop()?.call;
        if call.is_pending() {
            return Some(call);
        }
        self.cancelled = self.cancelled.saturating_sub(1);
        None
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.heap.into_iter().map(|timer| Entry::Call(timer.call))
    }

    /// One of the timers was cancelled. Returns whether one comes first that was.
    pub(super) fn note_cancelled(&mut self) -> bool {
        let first = self.heap.peek();
        let was_first = first.is_some_and(|first| !first.call.is_pending());
        self.cancelled += 1;
        if self.cancelled > Timers::FEW && self.cancelled > self.heap.len() / 2 {
            self.heap.retain(|timer| timer.call.is_pending());
            self.heap.shrink_to(2 * self.heap.len());
            self.cancelled = 0;
        }
        was_first
    }
}

// The first one is the greatest to a `BinaryHeap`.
impl Ord for Timer {
    fn cmp(&self, other: &Timer) -> Ordering {
        (other.when, other.serial).cmp(&(self.when, self.serial))
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Timer) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Timer) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Timer {}
