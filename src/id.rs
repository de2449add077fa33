//! Numbers that are unique in the process, and the hasher for maps keyed by them.

use std::cell::Cell;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::Ordering;

use crate::sync::AtomicU64;

/// How many ids a thread takes from the shared counter at a time.
const BLOCK: u64 = 1024;

/// An id that [`next`] never gives.
pub(crate) const RESERVED: u64 = 1;

/// A fresh stamp for the bindings of a context, or what its id is made of. Neither 0 nor
/// [`RESERVED`], and no process counts as far as `u64::MAX`.
///
/// Drawn from a block that the thread owns, so that two threads that create contexts do not share a
/// cache line.
#[inline]
pub(crate) fn next() -> u64 {
    static NEXT_BLOCK: AtomicU64 = AtomicU64::new(RESERVED + 1);
    thread_local! {
        static RANGE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    }
    RANGE.with(|range| {
        let (mut next, mut end) = range.get();
        if next == end {
            next = NEXT_BLOCK.fetch_add(BLOCK, Ordering::Relaxed);
            end = next + BLOCK;
        }
        range.set((next + 1, end));
        next
    })
}

/// A fresh id for a context. Neither 0 nor [`RESERVED`], and its last two bits are free.
pub(crate) fn next_context() -> u64 {
    next() << 2
}

/// A fresh id for a variable. Never 0, and dense, because the map of a context branches on its low
/// bits.
pub(crate) fn next_var() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A number that no other thread has while this one is alive. Not 0.
pub(crate) fn thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// What contexts know a variable by: a number that no other has, and whether it is `local`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct VarKey(u64);

impl VarKey {
    /// Set in the keys of `local` variables. No process counts as far as this.
    const LOCAL: u64 = 1 << 63;

    /// That of no variable.
    pub(crate) const NONE: VarKey = VarKey(0);

    #[inline]
    pub(crate) const fn new(id: u64, is_local: bool) -> VarKey {
        VarKey(if is_local { id | VarKey::LOCAL } else { id })
    }

    #[inline]
    pub(crate) const fn is_local(self) -> bool {
        self.0 & VarKey::LOCAL != 0
    }

    /// The key with this [`number`](Self::number).
    #[inline]
    pub(crate) const fn from_number(number: u64) -> VarKey {
        VarKey(number)
    }

    /// The number that it was made of.
    pub(crate) const fn id(self) -> u64 {
        self.0 & !VarKey::LOCAL
    }

    /// A number that no other key has. Not 0.
    #[inline]
    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

/// Hashes a `u64` to itself: the keys are dense and chosen by this crate, so there is nothing to
/// mix and nobody to defend against.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 << 8) | u64::from(byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }

    fn write_usize(&mut self, id: usize) {
        self.0 = id as u64;
    }
}

pub(crate) type BuildIdHasher = BuildHasherDefault<IdHasher>;
