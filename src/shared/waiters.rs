//! Those who wait to enter a shared context.

use std::mem;
use std::num::NonZeroU64;
use std::task::Waker;

type Waiting = (NonZeroU64, Waker);

/// Wakers, by ticket.
///
/// They are kept under a lock under which nothing may be allocated or freed, because an allocator
/// may use the context. So room for one more is made before: see [`lacks_room`](Self::lacks_room).
#[derive(Default)]
pub(super) struct Waiters {
    /// That with the lowest ticket. `None` if there are no others, either.
    first: Option<Waiting>,
    /// In the order of their tickets.
    others: Vec<Waiting>,
}

impl Waiters {
    /// The capacity to be made, if there is no room for another waiter.
    pub(super) fn lacks_room(&self) -> Option<usize> {
        let is_full = self.first.is_some() && self.others.len() == self.others.capacity();
        is_full.then(|| 2 * (self.others.len() + 1))
    }

    /// Moves the others to `room`, if that is larger. Returns what is to be freed.
    pub(super) fn move_to(&mut self, mut room: Vec<Waiting>) -> Vec<Waiting> {
        if room.capacity() > self.others.capacity() {
            room.append(&mut self.others);
            mem::swap(&mut room, &mut self.others);
        }
        room
    }

    /// Returns the waker that this ticket had. There is room for it.
    pub(super) fn insert(&mut self, ticket: NonZeroU64, waker: Waker) -> Option<Waker> {
        let mut waiting = (ticket, waker);
        match &mut self.first {
            None => {
                self.first = Some(waiting);
                return None;
            }
            Some(first) if ticket <= first.0 => {
                mem::swap(first, &mut waiting);
                if first.0 == waiting.0 {
                    return Some(waiting.1);
                }
            }
            Some(_) => {}
        }
        match self.search(waiting.0) {
            Ok(place) => Some(mem::replace(&mut self.others[place].1, waiting.1)),
            Err(place) => {
                self.others.insert(place, waiting);
                None
            }
        }
    }

    /// Returns the waker that the ticket had.
    pub(super) fn remove(&mut self, ticket: &NonZeroU64) -> Option<Waker> {
        if self.first.as_ref().is_some_and(|first| first.0 == *ticket) {
            let next = (!self.others.is_empty()).then(|| self.others.remove(0));
            return mem::replace(&mut self.first, next).map(|(_, waker)| waker);
        }
        let place = self.search(*ticket).ok()?;
        Some(self.others.remove(place).1)
    }

    fn search(&self, ticket: NonZeroU64) -> Result<usize, usize> {
        self.others.binary_search_by_key(&ticket, |other| other.0)
    }

    pub(super) fn into_values(self) -> impl Iterator<Item = Waker> {
        self.first
            .into_iter()
            .chain(self.others)
            .map(|(_, waker)| waker)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Nobody(#[allow(dead_code, reason = "so that each has an address of its own")] u8);

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    /// Random insertions and removals, as in a plain map. No insertion allocates.
    #[test]
    fn behaves_as_a_map_that_is_given_its_room() {
        let mut random = fastrand::Rng::with_seed(7);
        let wakers: Vec<Waker> = (0..8).map(|_| Waker::from(Arc::new(Nobody(0)))).collect();
        let is_same = |a: Option<Waker>, b: Option<Waker>| match (a, b) {
            (Some(a), Some(b)) => a.will_wake(&b),
            (a, b) => a.is_none() && b.is_none(),
        };
        for _ in 0..200 {
            let (mut waiters, mut model) = (Waiters::default(), BTreeMap::new());
            for _ in 0..random.usize(..60) {
                let ticket = NonZeroU64::MIN.saturating_add(random.u64(..12));
                if random.u8(..3) > 0 {
                    if let Some(room) = waiters.lacks_room() {
                        drop(waiters.move_to(Vec::with_capacity(room)));
                    }
                    let room = waiters.others.capacity();
                    let waker = &wakers[random.usize(..wakers.len())];
                    let old = waiters.insert(ticket, waker.clone());
                    assert!(is_same(old, model.insert(ticket, waker.clone())));
                    assert_eq!(waiters.others.capacity(), room);
                } else {
                    assert!(is_same(waiters.remove(&ticket), model.remove(&ticket)));
                }
            }
            let left: Vec<Waker> = waiters.into_values().collect();
            assert_eq!(left.len(), model.len());
            assert!(left.iter().zip(model.values()).all(|(a, b)| a.will_wake(b)));
        }
    }
}
