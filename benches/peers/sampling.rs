//! Samples, taken in turns, and what is made of them.
//!
//! A side does a number of operations and returns what they took together. Ours and a peer's take
//! samples in turns, and every other pair the peer goes first; the ratio of each pair is kept. So a
//! machine that is slow for a moment is slow for both, and a single bad sample does not count. The
//! peers of a row take turns as well, a block of pairs each, and the first pair of each block only
//! warms the caches. Each block has the stack at another place.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// What a row counts.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    Allocations,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Bytes => "bytes",
            Unit::Allocations => "allocations",
        }
    }
}

/// How much of it there is to measure: samples of `sample` each, and `blocks` of `pairs`.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    sample: Duration,
    blocks: u32,
    pairs: u32,
}

/// Nanoseconds an operation: samples that are shorter than what disturbs them, and many of them.
const SHORT: Effort = Effort {
    sample: Duration::from_micros(40),
    blocks: 24,
    pairs: 13,
};
/// Threads or processes take part, and their start should not show.
const LONG: Effort = Effort {
    sample: Duration::from_millis(1),
    blocks: 24,
    pairs: 5,
};
/// Counts do not vary.
const COUNTED: Effort = Effort {
    sample: Duration::ZERO,
    blocks: 1,
    pairs: 3,
};
const COUNTED_OPERATIONS: u32 = 400;

type Operations = Box<dyn FnMut(u32) -> f64>;

/// One of the two that are compared: does `n` operations and returns what they took together.
pub(crate) struct Side {
    run: Operations,
    minus: Option<Operations>,
    /// How many times longer than others its samples are.
    longer: u32,
    operations: u32,
}

impl Side {
    pub(crate) fn new(run: impl FnMut(u32) -> f64 + 'static) -> Side {
        Side {
            run: Box::new(run),
            minus: None,
            longer: 1,
            operations: 1,
        }
    }

    /// What it takes beyond `bare`, which is measured right after it.
    pub(crate) fn over(self, bare: impl FnMut(u32) -> f64 + 'static) -> Side {
        Side {
            minus: Some(Box::new(bare)),
            ..self
        }
    }

    /// For another process, whose caches are cold when it is asked, to its disadvantage.
    pub(crate) fn longer(self, times: u32) -> Side {
        Side {
            longer: times,
            ..self
        }
    }

    fn calibrate(&mut self, sample: Duration) {
        const MOST: u32 = 1 << 24;
        let target = (sample * self.longer).as_nanos() as f64;
        let mut operations = 1;
        while operations < MOST && (self.run)(operations) < target / 4.0 {
            operations *= 4;
        }
        let fastest = (0..3)
            .map(|_| (self.run)(operations))
            .fold(f64::INFINITY, f64::min);
        let scaled = f64::from(operations) * target / fastest.max(1.0);
        self.operations = (scaled as u32).clamp(1, MOST);
    }

    fn sample(&mut self) -> f64 {
        let mut total = (self.run)(self.operations);
        if let Some(bare) = &mut self.minus {
            total -= bare(self.operations);
        }
        total / f64::from(self.operations)
    }
}

/// What takes `n` operations inside something that has been set up.
#[inline(always)]
pub(crate) fn time<R>(n: u32, mut operation: impl FnMut() -> R) -> f64 {
    let start = Instant::now();
    for _ in 0..n {
        black_box(operation());
    }
    nanoseconds(start)
}

pub(crate) fn nanoseconds(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64
}

/// A row's sides.
pub(crate) struct Contest {
    ours: Side,
    peers: Vec<(&'static str, Side)>,
}

impl Contest {
    pub(crate) fn new(ours: impl FnMut(u32) -> f64 + 'static) -> Contest {
        Contest::of(Side::new(ours))
    }

    pub(crate) fn of(ours: Side) -> Contest {
        Contest {
            ours,
            peers: Vec::new(),
        }
    }

    pub(crate) fn peer(self, name: &'static str, run: impl FnMut(u32) -> f64 + 'static) -> Contest {
        self.side(name, Side::new(run))
    }

    pub(crate) fn side(mut self, name: &'static str, side: Side) -> Contest {
        self.peers.push((name, side));
        self
    }
}

/// Something to measure, which is set up when its turn comes.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) unit: Unit,
    effort: Effort,
    contest: fn() -> Contest,
}

impl Row {
    pub(crate) const fn new(
        name: &'static str,
        about: &'static str,
        contest: fn() -> Contest,
    ) -> Row {
        Row {
            name,
            about,
            unit: Unit::Nanoseconds,
            effort: SHORT,
            contest,
        }
    }

    pub(crate) const fn long(self) -> Row {
        Row {
            effort: LONG,
            ..self
        }
    }

    pub(crate) const fn counts(self, unit: Unit) -> Row {
        Row {
            unit,
            effort: COUNTED,
            ..self
        }
    }

    /// Does everything once, and measures nothing.
    pub(crate) fn try_out(&self) {
        let mut contest = (self.contest)();
        contest.ours.sample();
        for (_, peer) in &mut contest.peers {
            peer.sample();
        }
    }

    pub(crate) fn measure(&self) -> Vec<Outcome> {
        let Contest { mut ours, peers } = (self.contest)();
        let mut peers: Vec<_> = peers
            .into_iter()
            .map(|(name, side)| (name, side, Vec::new()))
            .collect();
        let sides = std::iter::once(&mut ours).chain(peers.iter_mut().map(|peer| &mut peer.1));
        for side in sides {
            match self.unit {
                Unit::Nanoseconds => side.calibrate(self.effort.sample),
                Unit::Bytes | Unit::Allocations => side.operations = COUNTED_OPERATIONS,
            }
        }
        for block in 0..self.effort.blocks {
            for (_, peer, pairs) in &mut peers {
                let mut take = || {
                    for pair in 0..=self.effort.pairs {
                        let samples = if (block + pair) % 2 == 0 {
                            let ours = ours.sample();
                            (ours, peer.sample())
                        } else {
                            let theirs = peer.sample();
                            (ours.sample(), theirs)
                        };
                        if pair > 0 {
                            pairs.push(samples);
                        }
                    }
                };
                aligned(block as usize % 4, 64, &mut take);
            }
        }
        peers
            .iter()
            .map(|(peer, _, pairs)| Outcome::new(self, peer, pairs))
            .collect()
    }
}

/// Calls `f` with the stack at one of the four places that it can have in a cache line.
///
/// Where a process's stack begins is up to chance, and what happens to cross the border of two
/// lines takes up to twice as long. So no process may stay with what it got.
#[inline(never)]
fn aligned(place: usize, frames: u32, f: &mut dyn FnMut()) {
    let pad = 0_u128;
    if frames == 0 || (&raw const *black_box(&pad)).addr() / 16 % 4 == place {
        return f();
    }
    aligned(place, frames - 1, f);
    // Not a tail call: the frame stays.
    black_box(&pad);
}

/// What came out for a row and one of its peers: medians.
pub(crate) struct Outcome {
    pub(crate) row: &'static str,
    pub(crate) unit: Unit,
    pub(crate) peer: &'static str,
    pub(crate) ours: f64,
    pub(crate) theirs: f64,
    /// The median of the pairs' ratios, which is not the ratio of the medians.
    pub(crate) ratio: f64,
    /// Half the distance between the quartiles of the ratios.
    pub(crate) spread: f64,
    pub(crate) pairs: usize,
}

impl Outcome {
    fn new(row: &Row, peer: &'static str, pairs: &[(f64, f64)]) -> Outcome {
        let ratios = sorted(pairs.iter().map(|&(ours, theirs)| ratio(ours, theirs)));
        let (low, high) = (quantile(&ratios, 0.25), quantile(&ratios, 0.75));
        Outcome {
            row: row.name,
            unit: row.unit,
            peer,
            ours: quantile(&sorted(pairs.iter().map(|pair| pair.0)), 0.5),
            theirs: quantile(&sorted(pairs.iter().map(|pair| pair.1)), 0.5),
            ratio: quantile(&ratios, 0.5),
            spread: (high - low) / 2.0,
            pairs: pairs.len(),
        }
    }
}

/// Counts may be nothing, on both sides.
fn ratio(ours: f64, theirs: f64) -> f64 {
    if ours == theirs { 1.0 } else { ours / theirs }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}
