//! [`AlwaysSend`] and [`IsSend`], for code that has lost the bound `Send`.

use std::marker::PhantomData;

/// That a type is `Send`, for where the compiler does not know it any more.
pub(crate) struct IsSend<T>(PhantomData<fn(T) -> T>);

impl<T: Send> IsSend<T> {
    #[inline]
    pub(crate) fn new() -> IsSend<T> {
        IsSend(PhantomData)
    }
}

/// A value of a type that is `Send`, also where the compiler does not know it.
pub(crate) struct AlwaysSend<T>(T);

impl<T: Send> AlwaysSend<T> {
    #[inline]
    pub(crate) fn new(value: T) -> AlwaysSend<T> {
        AlwaysSend(value)
    }
}

impl<T, E: Send> AlwaysSend<Result<T, E>> {
    pub(crate) fn result(result: Result<T, E>, _: &IsSend<T>) -> AlwaysSend<Result<T, E>> {
        AlwaysSend(result)
    }
}

impl<T> AlwaysSend<T> {
    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.0
    }

    pub(crate) fn into_inner(self) -> T {
        self.0
    }
}

// SAFETY: the two ways to make one ask for it: `new` for the type itself, `result` for all that a
// `Result` has.
unsafe impl<T> Send for AlwaysSend<T> {}
