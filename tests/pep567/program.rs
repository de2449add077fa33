//! The programs: steps of a few threads that take turns, made from a seed.

use fastrand::Rng;
use serde::Serialize;

/// How many contexts a program has at hand, all empty in the beginning.
pub(crate) const CONTEXTS: usize = 4;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Program {
    pub(crate) variables: usize,
    pub(crate) actors: usize,
    pub(crate) steps: Vec<Step>,
}

/// What an actor does in its innermost frame. An actor starts on a new thread, and may go on in
/// others.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) actor: usize,
    pub(crate) operation: Operation,
}

/// `back` counts back from the newest token of the program, around and around; a number that is
/// `None` is a value like any other.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    Get {
        variable: usize,
    },
    GetOr {
        variable: usize,
        fallback: Option<i64>,
    },
    Set {
        variable: usize,
        value: Option<i64>,
    },
    /// Gives a token to `variable`, or to its own. Whoever made the token, and whatever has become
    /// of it.
    Reset {
        back: usize,
        variable: Option<usize>,
    },
    /// Looks at the old value of a token.
    Old {
        back: usize,
    },
    /// Drops all tokens, and tells how many values are alive.
    DropTokens {},
    /// Looks into a context from outside, or from inside.
    Look {
        context: usize,
        variable: usize,
    },
    /// Lists all bindings of a context.
    List {
        context: usize,
    },
    /// Lists all bindings of a copy of the current context.
    ListCurrent {},
    New {
        into: usize,
    },
    /// The same context under another number, too.
    Alias {
        from: usize,
        into: usize,
    },
    Copy {
        from: usize,
        into: usize,
    },
    CopyCurrent {
        into: usize,
    },
    /// Whether the two are one context.
    Same {
        left: usize,
        right: usize,
    },
    /// The steps up to the matching `Leave` or `Raise` are one frame further in.
    Enter {
        place: Place,
        /// Whether a failure ends there; otherwise it goes on to the frames around it.
        catches: bool,
    },
    Leave {},
    Raise {},
}

/// What a frame is.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// `run` of a context, which may be entered already: here, or by another actor.
    Context(usize),
    /// `run` of a copy that nobody else has until it is left, and that is put `into` then.
    CopyOf {
        from: usize,
        into: usize,
    },
    CopyOfCurrent {
        into: usize,
    },
    /// A new thread, which this one waits for.
    Thread {},
    /// A new thread in a copy of the current context.
    InheritingThread {},
}

impl Program {
    pub(crate) fn generate(seed: u64) -> Program {
        let rng = &mut Rng::with_seed(seed);
        // Few variables, so that they are used again and again; in some programs more than one
        // level of a map.
        let variables = if rng.u8(..16) == 0 { 40 } else { 4 };
        let actors = [1, 1, 2, 3][rng.usize(..4)];
        let mut actor = 0;
        let steps = (0..rng.i64(30..=90))
            .map(|number| {
                if rng.u8(..6) == 0 {
                    actor = rng.usize(..actors);
                }
                let operation = operation(rng, variables, number);
                Step { actor, operation }
            })
            .collect();
        Program {
            variables,
            actors,
            steps,
        }
    }
}

fn operation(rng: &mut Rng, variables: usize, number: i64) -> Operation {
    let variable = rng.usize(..variables);
    let (from, into) = (rng.usize(..CONTEXTS), rng.usize(..CONTEXTS));
    let back = rng.usize(..5);
    match rng.u8(..33) {
        0..7 => Operation::Set {
            variable,
            // No other has it, so that a wrong one tells where it comes from.
            value: (rng.u8(..6) > 0).then_some(number),
        },
        7..12 => Operation::Reset {
            back,
            variable: (rng.u8(..6) == 0).then_some(variable),
        },
        12..14 => Operation::Get { variable },
        14 => Operation::GetOr {
            variable,
            fallback: rng.bool().then_some(-2),
        },
        15 => Operation::Old { back },
        16..18 => Operation::Look {
            context: from,
            variable,
        },
        18 => Operation::List { context: from },
        19 => Operation::ListCurrent {},
        20 => Operation::CopyCurrent { into },
        21 => Operation::Copy { from, into },
        22 => match rng.u8(..3) {
            0 => Operation::New { into },
            1 => Operation::Alias { from, into },
            _ => Operation::Same {
                left: from,
                right: into,
            },
        },
        23..28 => Operation::Enter {
            place: place(rng, from, into),
            catches: rng.bool(),
        },
        28..31 => Operation::Leave {},
        _ if rng.bool() => Operation::Raise {},
        _ => Operation::DropTokens {},
    }
}

fn place(rng: &mut Rng, from: usize, into: usize) -> Place {
    match rng.u8(..16) {
        0..9 => Place::Context(from),
        9..11 => Place::CopyOf { from, into },
        11..14 => Place::CopyOfCurrent { into },
        14 => Place::Thread {},
        _ => Place::InheritingThread {},
    }
}
