//! What a thread is in the middle of, so that user code which comes back to it is noticed.

use std::fmt;

use crate::raw::Stack;
use crate::sync::thread_local;

/// Something that must not be begun again within itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Activity {
    /// Computing the default of a variable.
    Default(u64),
    /// Showing the default of a variable.
    ShowDefault(u64),
    /// Showing the value at an address.
    ShowValue(usize),
    /// Showing the value of a variable in a log record.
    ShowField(u64),
}

/// How many values may be shown within each other: a chain of contexts is as long as its maker
/// likes, and the machine stack is not.
const SHOWN_WITHIN: usize = 32;

thread_local! {
    /// Entries are on the machine stack, so that nothing is allocated: an allocator may read
    /// variables.
    static ACTIVITIES: Stack<Activity> = const { Stack::new() };
}

/// Calls `f`, unless this thread is in the middle of `activity` already.
pub(crate) fn begin<R>(activity: Activity, f: impl FnOnce() -> R) -> Option<R> {
    begin_again(activity, 0, f)
}

/// The same if `activity` may be begun again within itself so many times.
pub(crate) fn begin_again<R>(activity: Activity, times: usize, f: impl FnOnce() -> R) -> Option<R> {
    let activities = Stack::here(&ACTIVITIES);
    if activities.count(|other| other == activity) > times {
        return None;
    }
    Some(activities.push(activity, f))
}

/// Calls `f`, or writes `...` within a call of itself, which a value that contains itself leads to,
/// and far down in a value that contains others.
pub(crate) fn show(
    activity: Activity,
    out: &mut fmt::Formatter<'_>,
    f: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    if Stack::here(&ACTIVITIES).count(|_| true) < SHOWN_WITHIN {
        if let Some(result) = begin(activity, || f(out)) {
            return result;
        }
    }
    out.write_str("...")
}
