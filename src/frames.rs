//! A stack of frames in a thread-local that has no destructor.

use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};

/// The innermost frame, and the frames that wait under values being dropped.
///
/// Frames that are entered by a function or a poll wait on the machine stack, in the guard that puts
/// them back. Only a value that is dropped in a frame needs [`push`](Frames::push) and
/// [`pop`](Frames::pop), which the destructors of the fields before and after it call.
pub(crate) struct Frames<T> {
    /// Borrowed only while no user code can run.
    current: RefCell<ManuallyDrop<T>>,
    outer: Cell<ManuallyDrop<Outer<T>>>,
}

struct Outer<T> {
    /// Almost always enough, and needs no allocation.
    first: Option<Option<T>>,
    rest: Vec<Option<T>>,
}

impl<T> Outer<T> {
    const fn new() -> Outer<T> {
        Outer {
            first: None,
            rest: Vec::new(),
        }
    }
}

impl<T> Frames<T> {
    pub(crate) const fn new(root: T) -> Frames<T> {
        Frames {
            current: RefCell::new(ManuallyDrop::new(root)),
            outer: Cell::new(ManuallyDrop::new(Outer::new())),
        }
    }

    /// Makes `frame` current and returns what was.
    #[inline]
    pub(crate) fn replace(&self, frame: T) -> T {
        ManuallyDrop::into_inner(self.current.replace(ManuallyDrop::new(frame)))
    }

    /// Exchanges the current frame for `frame`.
    #[inline]
    pub(crate) fn swap(&self, frame: &mut T) {
        mem::swap(&mut **self.current.borrow_mut(), frame);
    }

    /// Calls `f`, which must not call user code, on the current frame.
    #[inline]
    pub(crate) fn peek<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.current.borrow_mut())
    }

    /// Makes `frame`, if any, current until [`pop`](Frames::pop).
    pub(crate) fn push(&self, frame: Option<T>) {
        let waiting = frame.map(|frame| self.replace(frame));
        self.with_outer(|outer| match outer.first {
            None => outer.first = Some(waiting),
            Some(_) => outer.rest.push(waiting),
        });
    }

    /// Undoes the last [`push`](Frames::push) and returns the frame that was left, if it made one.
    pub(crate) fn pop(&self) -> Option<T> {
        let waiting = self.with_outer(|outer| match outer.rest.pop() {
            Some(waiting) => {
                if outer.rest.is_empty() {
                    // Without a destructor for the thread-local, an allocation would leak.
                    outer.rest = Vec::new();
                }
                Some(waiting)
            }
            None => outer.first.take(),
        })?;
        waiting.map(|frame| self.replace(frame))
    }

    fn with_outer<R>(&self, f: impl FnOnce(&mut Outer<T>) -> R) -> R {
        let taken = self.outer.replace(ManuallyDrop::new(Outer::new()));
        let mut outer = ManuallyDrop::into_inner(taken);
        let result = f(&mut outer);
        self.outer.set(ManuallyDrop::new(outer));
        result
    }
}
