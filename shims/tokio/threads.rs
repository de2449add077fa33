//! What takes threads: the runtime of the process, and blocking in place.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use ::tokio::runtime::{self as native, Builder, Handle};
pub(super) use ::tokio::task::block_in_place;

use crate::shim::block::BlockOnError;
use crate::shim::executor::Executor;

/// The runtime of the process.
pub(super) fn of_the_process() -> Result<Option<Arc<dyn Executor>>, BlockOnError> {
    static RUNTIME: Started = Started::new();
    match Handle::try_current() {
        // The thread cannot enter a runtime any more.
        Err(error) if error.is_thread_local_destroyed() => Ok(None),
        _ => {
            let handle = RUNTIME.get(|| Builder::new_multi_thread().enable_all().build())?;
            Ok(Some(Arc::new(handle)))
        }
    }
}

/// A runtime that is started when it is first asked for, and never shut down.
struct Started(Mutex<Option<native::Runtime>>);

impl Started {
    const fn new() -> Started {
        Started(Mutex::new(None))
    }

    /// After a failure, the next one who asks tries again.
    fn get(
        &self,
        start: impl FnOnce() -> io::Result<native::Runtime>,
    ) -> Result<Handle, BlockOnError> {
        let mut runtime = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = match &mut *runtime {
            Some(runtime) => runtime,
            none => none.insert(start().map_err(|error| {
                BlockOnError::new(format!("no tokio runtime can be started: {error}"))
            })?),
        };
        Ok(runtime.handle().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_that_cannot_be_started_is_an_error_and_tried_again() {
        let runtime = Started::new();
        let error = runtime
            .get(|| Err(io::Error::other("no threads")))
            .unwrap_err();
        assert!(
            error.to_string().ends_with("started: no threads"),
            "{error}"
        );
        let start = || Builder::new_current_thread().build();
        let id = runtime.get(start).unwrap().id();
        assert_eq!(runtime.get(|| unreachable!()).unwrap().id(), id);
    }
}
