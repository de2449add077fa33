//! The programs: trees of steps, made from a flat list so that shrinking can take a block away and
//! leave what is in it.

use std::fmt;

use proptest::collection::vec;
use proptest::sample::select;
use proptest::strategy::Strategy;

/// How many contexts of each kind a program has.
pub(crate) const OWNED: usize = 4;
pub(crate) const SHARED: usize = 2;

const MAX_LENGTH: usize = 80;
const MAX_DEPTH: usize = 6;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Var {
    A,
    /// Has a default.
    B,
    /// Is local.
    L,
    /// Is local and has a default.
    M,
    /// Has a name made at run time.
    N,
    C,
}

impl Var {
    pub(crate) const ALL: [Var; 6] = [Var::A, Var::B, Var::L, Var::M, Var::N, Var::C];

    /// The value of a default: no step has this number.
    pub(crate) const DEFAULT: u32 = 0;

    pub(crate) fn is_local(self) -> bool {
        matches!(self, Var::L | Var::M)
    }

    pub(crate) fn default(self) -> Option<u32> {
        matches!(self, Var::B | Var::M).then_some(Var::DEFAULT)
    }
}

/// Counts back from the newest of a list, around and around.
#[derive(Clone, Copy)]
pub(crate) struct Back(usize);

impl Back {
    pub(crate) const NEWEST: Back = Back(0);

    pub(crate) fn take_from<T>(self, list: &mut Vec<T>) -> Option<T> {
        let newest = list.len().checked_sub(1)?;
        Some(list.remove(newest - self.0 % list.len()))
    }

    pub(crate) fn find_in<T>(self, list: &mut [T]) -> Option<&mut T> {
        let back = self.0 % list.len().max(1);
        list.iter_mut().rev().nth(back)
    }
}

impl fmt::Debug for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("newest"),
            back => write!(f, "newest but {back}"),
        }
    }
}

/// The context that a unit of work is given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Inherited,
    Empty,
    /// Moved in.
    Owned(usize),
    Shared(usize),
}

/// What a step does. Every value that it sets is the step's number.
///
/// Tokens, guards, snapshots and works are kept in lists that all steps of a program share,
/// wherever they run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Set(Var),
    TrySet(Var),
    Unset(Var),
    /// By the token's own variable, or by another one.
    Reset(Back, Option<Var>),
    DropToken(Back),
    Scoped(Var),
    DropGuard(Back),
    DropGuardInEmptyContext(Back),
    DropGuardOnThread(Back),
    ForgetGuard(Back),
    Snapshot,
    /// Puts a copy of a snapshot into an owned context's place.
    Restore(Back, usize),
    WithValue(usize, Var),
    /// Turns an owned context into a shared one.
    Share {
        owned: usize,
        shared: usize,
    },
    CopyShared {
        shared: usize,
        owned: usize,
    },
    /// Polls a future, or calls a function, that `Future`, `Scope` or `Bind` has made.
    Resume(Back),
    DropWork(Back),
    /// Of a task on the innermost executor, in whatever state it is.
    Abort(Back),
    /// Ends a poll.
    Yield,
    /// Unwinds out of this many blocks and one more.
    Panic(usize),
    /// Ends the innermost block.
    End,

    // What follows has a body.
    Run(usize),
    RunShared(usize),
    SyncScope(Var),
    /// A reader, who keeps what he reads.
    With(Var),
    FreshThread,
    Thread(Place),
    /// A future, whose body is polled by hand.
    Future(Place),
    Scope(Var),
    Bind(Place),
    /// Runs an executor; the body's future is its first unit.
    BlockOn,
    /// Outside an executor, this and what follows run one.
    Spawn(Place),
    CallSoon(Place),
    SpawnBlocking,
}

impl Action {
    fn has_body(self) -> bool {
        use Action::*;
        match self {
            Set(_) | TrySet(_) | Unset(_) | Reset(..) | DropToken(_) => false,
            Scoped(_) | DropGuard(_) | DropGuardInEmptyContext(_) => false,
            DropGuardOnThread(_) | ForgetGuard(_) => false,
            Snapshot | Restore(..) | WithValue(..) | Share { .. } | CopyShared { .. } => false,
            Resume(_) | DropWork(_) | Abort(_) | Yield | Panic(_) | End => false,
            Run(_) | RunShared(_) | SyncScope(_) | With(_) | FreshThread | Thread(_) => true,
            Future(_) | Scope(_) | Bind(_) => true,
            BlockOn | Spawn(_) | CallSoon(_) | SpawnBlocking => true,
        }
    }
}

/// Makes an action from the variable and the number that were drawn for it.
type Make = fn(Var, usize) -> Action;

/// The actions and how often each is drawn, the simplest first: shrinking goes to the front.
const ACTIONS: &[(usize, Make)] = &[
    (14, |var, _| Action::Set(var)),
    (4, |var, _| Action::Unset(var)),
    (2, |var, _| Action::TrySet(var)),
    (14, |_, n| Action::Reset(Back(n), None)),
    (2, |var, n| Action::Reset(Back(n), Some(var))),
    (1, |_, n| Action::DropToken(Back(n))),
    (20, |var, _| Action::Scoped(var)),
    (10, |_, n| Action::DropGuard(Back(n))),
    (2, |_, n| Action::DropGuardInEmptyContext(Back(n))),
    (1, |_, n| Action::DropGuardOnThread(Back(n))),
    (1, |_, n| Action::ForgetGuard(Back(n))),
    (6, |_, _| Action::Snapshot),
    (4, |_, n| Action::Restore(Back(n / OWNED), n % OWNED)),
    (2, |var, n| Action::WithValue(n % OWNED, var)),
    (2, |_, n| Action::Share {
        owned: n / SHARED,
        shared: n % SHARED,
    }),
    (1, |_, n| Action::CopyShared {
        owned: n / SHARED,
        shared: n % SHARED,
    }),
    (20, |_, n| Action::Resume(Back(n))),
    (4, |_, n| Action::DropWork(Back(n))),
    (1, |_, n| Action::Abort(Back(n))),
    (6, |_, _| Action::Yield),
    (2, |_, n| Action::Panic(n % 3)),
    (50, |_, _| Action::End),
    (9, |_, n| Action::Run(n % OWNED)),
    (8, |_, n| Action::RunShared(n % SHARED)),
    (3, |var, _| Action::SyncScope(var)),
    (2, |var, _| Action::With(var)),
    (1, |_, _| Action::FreshThread),
    (2, |_, n| Action::Thread(place(n))),
    (6, |_, n| Action::Future(place(n))),
    (2, |var, _| Action::Scope(var)),
    (3, |_, n| Action::Bind(owned_place(n))),
    (3, |_, _| Action::BlockOn),
    (5, |_, n| Action::Spawn(place(n))),
    (5, |_, n| Action::CallSoon(place(n))),
    (1, |_, _| Action::SpawnBlocking),
];

/// What is drawn for an action beside its variable.
const NUMBERS: usize = 8;

fn place(n: usize) -> Place {
    match n {
        0..3 => Place::Inherited,
        3..6 => Place::Shared(n % SHARED),
        6 => Place::Owned(0),
        _ => Place::Empty,
    }
}

fn owned_place(n: usize) -> Place {
    match place(n) {
        Place::Shared(n) => Place::Owned(n),
        owned => owned,
    }
}

/// The first ones are drawn more often, so that steps meet.
fn variables() -> Vec<Var> {
    let often = [Var::A; 10].into_iter().chain([Var::B; 2]);
    often.chain([Var::L; 2]).chain(Var::ALL).collect()
}

pub(crate) fn programs() -> impl Strategy<Value = Program> {
    let weighted = |&(weight, make): &(usize, Make)| vec![make; weight];
    let actions: Vec<Make> = ACTIONS.iter().flat_map(weighted).collect();
    let step = (select(actions), select(variables()), 0..NUMBERS);
    let action = step.prop_map(|(make, var, number)| make(var, number));
    vec(action, 1..=MAX_LENGTH).prop_map(Program::new)
}

#[derive(Clone)]
pub(crate) struct Program {
    actions: Vec<Action>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone)]
pub(crate) struct Step {
    /// Its place in the listing.
    pub(crate) number: u32,
    pub(crate) action: Action,
    pub(crate) body: Vec<Step>,
}

impl Program {
    fn new(actions: Vec<Action>) -> Program {
        let mut rest = actions.iter().copied();
        let (mut steps, mut number) = (Vec::new(), 0);
        // An `End` too many ends nothing.
        while rest.len() > 0 {
            block(&mut rest, &mut steps, &mut number, 0);
        }
        Program { actions, steps }
    }

    /// The programs that have one action less.
    pub(crate) fn shorter(&self) -> impl Iterator<Item = Program> {
        (0..self.actions.len()).map(|at| {
            let mut actions = self.actions.clone();
            actions.remove(at);
            Program::new(actions)
        })
    }
}

/// Moves `actions` into `steps` up to the end of the block.
fn block(
    actions: &mut impl Iterator<Item = Action>,
    steps: &mut Vec<Step>,
    number: &mut u32,
    depth: usize,
) {
    while let Some(action) = actions.next() {
        if matches!(action, Action::End) {
            return;
        }
        *number += 1;
        let mut step = Step {
            number: *number,
            action,
            body: Vec::new(),
        };
        if action.has_body() && depth < MAX_DEPTH {
            block(actions, &mut step.body, number, depth + 1);
        }
        steps.push(step);
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.steps, 0)
    }
}

fn list(f: &mut fmt::Formatter<'_>, steps: &[Step], depth: usize) -> fmt::Result {
    let indent = 4 * depth;
    for step in steps {
        write!(f, "\n{:4}  {:indent$}{:?}", step.number, "", step.action)?;
        if step.action.has_body() {
            f.write_str(" {")?;
            list(f, &step.body, depth + 1)?;
            write!(f, "\n      {:indent$}}}", "")?;
        }
    }
    Ok(())
}
