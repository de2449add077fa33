//! [`Companion`]: what another crate's thread-bound state owes the context.

use crate::catch::caught;

/// Something that another crate keeps current on a thread, and that is to follow the work with its
/// context.
///
/// A panic in [`capture`](Self::capture) or in the drop of a value stays there; then nothing was
/// captured. A panic in [`enter`](Self::enter) is one of the unit of work that is entered. Where a
/// future is dropped, it is dropped all the same, and the panic stays there.
///
/// Once the thread's own context is gone, while its thread-locals are destroyed, none of this is
/// called any more.
///
/// # Examples
///
/// See the [module](super).
pub trait Companion: Send + Sync + 'static {
    /// What a context keeps.
    ///
    /// The last context that keeps it drops it inside itself: whoever hears of the drop, as a
    /// subscriber does of the end of a span, finds the variables of that context, on whatever
    /// thread. The values of companions that were registered before this one are current, as where
    /// it is entered, and of the others nothing is (see [`enter_none`](Companion::enter_none)), but
    /// for those whose values [are current](Self::is_current) anyway.
    type Value: Send + Sync + 'static;

    /// What is current on this thread, if there is anything to be taken along.
    ///
    /// Called where a context is captured. What it captures itself, as by a `spawn`, has no
    /// companions.
    fn capture(&self) -> Option<Self::Value>;

    /// Whether `value` is what is current on this thread already. Then it is neither entered again
    /// nor captured anew: the new context shares what the current one has. Nor is it left where what
    /// the context keeps is dropped.
    fn is_current(&self, value: &Self::Value) -> bool {
        let _ = value;
        false
    }

    /// Calls `f` while `value` is current: at each poll, call, job and drop inside the context.
    /// What was current before is so again afterwards, also after a panic.
    ///
    /// The only way to an `R` is to call `f`, so that this cannot be forgotten or done twice. Call it
    /// in the context in which this is called: what the work writes goes to the current one.
    fn enter<R>(&self, value: &Self::Value, f: impl FnOnce() -> R) -> R;

    /// [`enter`](Self::enter), or `f` alone where `value` is current, in the frame of the context,
    /// which has just been entered: for those that find out about both at once, and those for which
    /// it matters in which context they leave what was current.
    #[doc(hidden)]
    #[inline]
    fn enter_in_frame<R>(&self, value: &Self::Value, f: impl FnOnce() -> R) -> R {
        match caught(|| self.is_current(value)).unwrap_or_default() {
            true => f(),
            false => self.enter(value, f),
        }
    }

    /// Calls `f` while nothing is current: for a unit of work that has captured nothing, and runs
    /// where something else is current, as a stolen job does.
    ///
    /// It is called at each of its polls, and where what a context has kept is dropped, unless that
    /// [is current](Self::is_current). Without an implementation, what the thread has stays current.
    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }

    /// [`enter_none`](Self::enter_none), in the frame of the context, which has just been entered.
    #[doc(hidden)]
    #[inline]
    fn enter_none_in_frame<R>(&self, f: impl FnOnce() -> R) -> R {
        self.enter_none(f)
    }
}
