//! `tracing`: the current span and the current subscriber follow the work.
//!
//! ```
//! use aiocontextvars::bridge::tracing::CurrentSpan;
//! use aiocontextvars::{companion, shim};
//! use tracing::{Span, info_span};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     # use tracing_subscriber::layer::SubscriberExt;
//!     # tracing::subscriber::set_global_default(tracing_subscriber::registry())?;
//!     companion::register(CurrentSpan)?;
//!     let seen = shim::block_on(async {
//!         let request = info_span!("request");
//!         let task = request.in_scope(|| {
//!             // No `.in_current_span()`.
//!             shim::spawn(async { Span::current().metadata().unwrap().name() })
//!         });
//!         task.await.unwrap()
//!     });
//!     assert_eq!(seen, "request");
//!     Ok(())
//! }
//! ```
//!
//! A context that has captured a span keeps it open, as an `Instrumented` future does. A task, a
//! job or a callback releases it when it ends, a wrapped future or stream when it is dropped. What
//! is to outlive its request takes [`without_companions`](crate::Context::without_companions).
//!
//! # Several subscribers
//!
//! A span belongs to its subscriber, and where an event goes is the matter of the subscriber that
//! is current on the thread. In a program with more than one, register [`CurrentDispatch`] too:
//! with [`CurrentSpan`] alone, work that runs where another subscriber is current logs to that, in
//! the span that is current there.
//!
//! # Other spans on the thread
//!
//! Where work runs while its thread is in another span, as a stolen job or a task of an inline
//! executor does, that span is left meanwhile and entered again afterwards. Layers hear of both in
//! a copy of the values around, those that an event would have found there, and not in those of the
//! work. (They find none where what runs now may not read there, as in a span around a `block_on`.)
//! So the span of the work is the current one, though it may be entered further out as well.
//! (Entered within itself, a registry would not take it for the current one.) It is the same where
//! what a context keeps is dropped, as when a request drops the last message of another one: the
//! other's span closes in no span. (Where a request drops what has its own span, that is not left.)
//!
//! What a layer makes current in a span, as OpenTelemetry's does, is then made current anew. If a
//! program has made something else current inside of the span, by hand, that comes to lie below.
//! And a guard of `tracing` must end in the context in which it began: a span that is left meanwhile
//! is entered again, unless it has closed. A layer's panic where it is entered again stays there.

use std::fmt::{self, Write};
use std::mem;
use std::process;
use std::ptr;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use ::tracing::dispatcher::{self, Dispatch};
use ::tracing::span::{self, Span};
use ::tracing::subscriber::NoSubscriber;

use crate::catch::catch;
use crate::companion::Companion;
use crate::current;

/// The current span of `tracing`, as a [companion](crate::companion).
///
/// # Examples
///
/// See the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub struct CurrentSpan;

impl Companion for CurrentSpan {
    type Value = Span;

    fn capture(&self) -> Option<Span> {
        let span = Span::current();
        (!span.is_disabled()).then_some(span)
    }

    fn is_current(&self, span: &Span) -> bool {
        let same =
            |(id, dispatch): (&span::Id, &Dispatch)| dispatch.current_span().id() == Some(id);
        span.with_subscriber(same).unwrap_or_default()
    }

    fn enter<R>(&self, span: &Span, f: impl FnOnce() -> R) -> R {
        enter(span, Place::Here, f)
    }

    #[inline]
    fn enter_in_frame<R>(&self, span: &Span, f: impl FnOnce() -> R) -> R {
        enter(span, Place::Outside, f)
    }

    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        enter_none(Place::Here, f)
    }

    #[inline]
    fn enter_none_in_frame<R>(&self, f: impl FnOnce() -> R) -> R {
        enter_none(Place::Outside, f)
    }
}

#[inline]
fn enter<R>(span: &Span, place: Place, f: impl FnOnce() -> R) -> R {
    let around = span.with_subscriber(|(id, dispatch)| match dispatch.current_span().id() {
        None => Around::Nothing,
        Some(current) if current == id => Around::Same,
        // Asked for again by `leave`, which is cold, so that nothing is cloned here.
        Some(_) => Around::Others,
    });
    match around {
        None | Some(Around::Nothing) => span.in_scope(f),
        Some(Around::Same) => f(),
        Some(Around::Others) => {
            let _left = span.with_subscriber(|(_, dispatch)| Left::leave(dispatch, place));
            span.in_scope(f)
        }
    }
}

#[inline]
fn enter_none<R>(place: Place, f: impl FnOnce() -> R) -> R {
    if !dispatcher::get_default(|dispatch| dispatch.current_span().id().is_some()) {
        return f();
    }
    let _left = dispatcher::get_default(|dispatch| Left::leave(dispatch, place));
    f()
}

/// What is current where a span is to be.
#[derive(Clone, Copy)]
enum Around {
    Nothing,
    Same,
    Others,
}

/// In which context spans are left and entered again, so that layers which hear of it find the
/// variables of the work that is in these spans.
#[derive(Clone, Copy)]
enum Place {
    /// The current one.
    Here,
    /// That around the current one, in whose own frame this is.
    Outside,
}

impl Place {
    fn call<R>(self, f: impl FnOnce() -> R) -> R {
        match self {
            Place::Here => f(),
            Place::Outside => current::enter_outer(f),
        }
    }
}

/// Spans that were current, innermost first, and are to be so again.
struct Left {
    dispatch: Dispatch,
    ids: Vec<span::Id>,
    place: Place,
}

impl Left {
    /// How many are left, and how often one in a row: with a subscriber whose current span does not
    /// go by what is entered, there is no end. A stack has no room for so many.
    const MOST: usize = 1 << 16;
    const MOST_IN_A_ROW: usize = 1_000;

    #[cold]
    fn leave(dispatch: &Dispatch, place: Place) -> Left {
        let mut left = Left {
            dispatch: dispatch.clone(),
            ids: Vec::new(),
            place,
        };
        place.call(|| left.leave_all());
        left
    }

    fn leave_all(&mut self) {
        let mut in_a_row = 0;
        while let Some(id) = self.dispatch.current_span().id().cloned() {
            in_a_row = match self.ids.last() {
                Some(last) if *last == id => in_a_row + 1,
                _ => 0,
            };
            if in_a_row == Left::MOST_IN_A_ROW || self.ids.len() == Left::MOST {
                break;
            }
            // Kept open meanwhile.
            self.ids.push(self.dispatch.clone_span(&id));
            self.dispatch.exit(&id);
        }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        let Left {
            dispatch,
            ids,
            place,
        } = self;
        place.call(|| {
            while let Some(id) = ids.pop() {
                // A layer that panics does not keep the other spans from being entered again.
                catch(|| {
                    // Unless it has closed, so that whoever had entered it has left it meanwhile.
                    // (One that others keep is entered again in any case: nothing tells.)
                    if !dispatch.try_close(id.clone()) {
                        dispatch.enter(&id);
                    }
                });
            }
        });
    }
}

/// The subscriber that was made the default of a scope (by `set_default`, `with_default` or
/// `with_subscriber`), as a [companion](crate::companion); also one that records nothing, as
/// `Dispatch::none()`. The global default is everywhere anyway.
///
/// For tests that run at once, each with a subscriber of its own. Register it before
/// [`CurrentSpan`], so that spans are entered where their subscriber is.
///
/// # Examples
///
/// ```
/// use aiocontextvars::bridge::tracing::{CurrentDispatch, CurrentSpan};
/// use aiocontextvars::companion;
///
/// companion::register(CurrentDispatch)?;
/// companion::register(CurrentSpan)?;
/// # Ok::<(), companion::AlreadyRegistered>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CurrentDispatch;

impl Companion for CurrentDispatch {
    type Value = Dispatch;

    fn capture(&self) -> Option<Dispatch> {
        dispatcher::get_default(|dispatch| is_of_scope(dispatch).then(|| dispatch.clone()))
    }

    // Whether two are the same, a `Dispatch` does not tell. So there is no `is_current`.

    fn enter<R>(&self, dispatch: &Dispatch, f: impl FnOnce() -> R) -> R {
        dispatcher::with_default(dispatch, f)
    }

    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        match dispatcher::get_default(is_of_scope) {
            true => dispatcher::with_default(&global(), f),
            false => f(),
        }
    }
}

/// The global default, or none.
fn global() -> Dispatch {
    static GLOBAL: OnceLock<Dispatch> = OnceLock::new();
    if let Some(global) = GLOBAL.get() {
        return global.clone();
    }
    let global = default_of_another_thread().unwrap_or_else(Dispatch::none);
    // It is set once, perhaps later.
    if !is_none(&global) {
        GLOBAL.get_or_init(|| global.clone());
    }
    global
}

/// The default of a thread where no scope is, which is the global one. The thread stays: a program
/// without a global default asks at each poll.
fn default_of_another_thread() -> Option<Dispatch> {
    /// With the process that has the thread: a fork has none of its parent's.
    static QUESTIONS: Mutex<Option<(u32, Questions)>> = Mutex::new(None);

    let questions = {
        let mut known = QUESTIONS.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((process, questions)) if *process == process::id() => questions.clone(),
            _ => {
                let questions = answer_questions()?;
                // Not dropped after a fork: its thread may have held a lock of the channel.
                mem::forget(known.replace((process::id(), questions.clone())));
                questions
            }
        }
    };
    let (asker, answer) = mpsc::channel();
    questions.send(asker).ok()?;
    answer.recv().ok()
}

/// Who asks for the default, and is sent it.
type Questions = Sender<Sender<Dispatch>>;

/// Starts the thread. `None` where there are no threads.
fn answer_questions() -> Option<Questions> {
    let (sender, questions) = mpsc::channel::<Sender<Dispatch>>();
    let answer = move || {
        for asker in questions {
            // An asker that has gone needs no answer.
            _ = asker.send(dispatcher::get_default(Dispatch::clone));
        }
    };
    let thread = thread::Builder::new().name("aio-dispatch".to_owned());
    thread.spawn(answer).ok().map(|_| sender)
}

/// Whether what [`dispatcher::get_default`] gives is of a scope; to be called within. One that
/// records nothing is, unless it stands for there being none: that is what the same question gives
/// within, and what it gives where a subscriber is called. (`tests/global_subscriber.rs` has all
/// three.)
fn is_of_scope(dispatch: &Dispatch) -> bool {
    match is_none(dispatch) {
        true => !dispatcher::get_default(|none| ptr::eq(none, dispatch)),
        false => is_scoped(dispatch),
    }
}

fn is_none(dispatch: &Dispatch) -> bool {
    dispatch.is::<NoSubscriber>()
}

/// Whether it can only be that of a scope. A `Dispatch` tells by its `Debug` only, which begins
/// with `Dispatch::Global` for the global default and for none. If that ever changes, all are taken
/// for those of scopes: the global one is then captured as well, which is slower, and right.
fn is_scoped(dispatch: &Dispatch) -> bool {
    let mut start = Start { is_global: false };
    // An error as soon as it is known.
    let _ = write!(start, "{dispatch:?}");
    !start.is_global
}

struct Start {
    is_global: bool,
}

impl Write for Start {
    fn write_str(&mut self, start: &str) -> fmt::Result {
        self.is_global = start.ends_with("Global");
        Err(fmt::Error)
    }
}
