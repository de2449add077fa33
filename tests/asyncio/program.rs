//! The programs: finite trees of callbacks, made from a seed.

use fastrand::Rng;
use serde::Serialize;

/// How many variables, and how many shared contexts, a program has.
pub(crate) const VARIABLES: usize = 4;
pub(crate) const SHARED: usize = 2;

const MAX_DEPTH: usize = 5;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Program {
    /// Whether any callback has a delay.
    pub(crate) timed: bool,
    pub(crate) root: Callback,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Callback {
    pub(crate) id: usize,
    pub(crate) operations: Vec<Operation>,
}

/// `back` counts back from the newest handle or token of the run, around and around.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    Get {
        variable: usize,
    },
    Set {
        variable: usize,
        value: u32,
    },
    /// Uses a token of any callback; in another context than the token's, this is refused.
    Reset {
        back: usize,
    },
    /// Looks into a shared context from outside.
    Read {
        shared: usize,
        variable: usize,
    },
    Schedule {
        when: When,
        place: Place,
        callback: Callback,
    },
    /// Whatever has become of the callback: it may have run, or be the one that is running.
    Cancel {
        back: usize,
    },
    /// Ends the callback with a panic.
    Fail {},
}

/// When a callback is due, in ticks from now.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum When {
    Soon,
    Later(u32),
    /// May be over.
    At(i32),
}

/// The context of a callback.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    Inherited,
    New,
    Shared(usize),
    /// A copy of a shared one.
    Copied(usize),
}

impl Program {
    pub(crate) fn generate(seed: u64) -> Program {
        let rng = &mut Rng::with_seed(seed);
        let timed = rng.bool();
        // Some fill a turn with more than the shim runs before it lets an executor's other tasks
        // run.
        let wide = rng.u8(..8) == 0;
        let (count, of_root) = if wide {
            (rng.usize(120..=180), 100)
        } else {
            (rng.usize(5..=60), 1)
        };
        // Each of the others is scheduled by one with a smaller id, and by an early one more often.
        let mut depths = vec![0];
        let mut parents = vec![0];
        for id in 1..count {
            let parent = loop {
                let end = rng.usize(1..=id);
                let parent = if id <= of_root { 0 } else { rng.usize(..end) };
                if depths[parent] < MAX_DEPTH {
                    break parent;
                }
            };
            depths.push(depths[parent] + 1);
            parents.push(parent);
        }
        let mut bodies: Vec<_> = (0..).take(count).map(|id| body(rng, id)).collect();
        for id in (1..count).rev() {
            let callback = finish(rng, id, bodies.remove(id));
            let operation = Operation::Schedule {
                when: when(rng, timed && (!wide || parents[id] > 0)),
                place: place(rng),
                callback,
            };
            let scheduler = &mut bodies[parents[id]];
            scheduler.insert(rng.usize(..=scheduler.len()), operation);
        }
        let root = finish(rng, 0, bodies.remove(0));
        Program { timed, root }
    }
}

/// What a callback does besides scheduling others.
fn body(rng: &mut Rng, id: u32) -> Vec<Operation> {
    (0..rng.u32(1..=6))
        .map(|n| {
            let (variable, shared) = (rng.usize(..VARIABLES), rng.usize(..SHARED));
            match rng.u8(..10) {
                0..4 => Operation::Set {
                    variable,
                    // No other has it, so that a wrong one tells where it comes from.
                    value: id * 10 + n,
                },
                4..6 => Operation::Get { variable },
                6 => Operation::Read { shared, variable },
                7..9 => Operation::Reset {
                    back: rng.usize(..3),
                },
                // The newest handles are those whose callbacks still wait.
                _ => Operation::Cancel {
                    back: rng.usize(..12),
                },
            }
        })
        .collect()
}

fn finish(rng: &mut Rng, id: usize, mut operations: Vec<Operation>) -> Callback {
    if rng.u8(..8) == 0 {
        operations.push(Operation::Fail {});
    }
    Callback { id, operations }
}

fn when(rng: &mut Rng, timed: bool) -> When {
    match rng.u8(..8) {
        0..4 if timed => When::Later(rng.u32(..=4)),
        4..6 if timed => When::At(rng.i32(-2..=4)),
        _ => When::Soon,
    }
}

fn place(rng: &mut Rng) -> Place {
    let shared = rng.usize(..SHARED);
    match rng.u8(..16) {
        0..4 => Place::Shared(shared),
        4 => Place::Copied(shared),
        5 => Place::New,
        _ => Place::Inherited,
    }
}
