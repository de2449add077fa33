//! Stopping loops on Ctrl-C.

use std::error::Error;
use std::fmt;
use std::process;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{EventLoop, Shared};
use crate::sync::atomic::Ordering;

/// The loops that asked to be stopped.
static LOOPS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// Whether the handler is installed.
static INSTALLED: Mutex<bool> = Mutex::new(false);

/// What a shell makes of a process that an interrupt has ended.
const INTERRUPTED: i32 = 130;

impl EventLoop {
    /// Stops the loop on Ctrl-C, as [`stop`](Self::stop) does. Without this call, Ctrl-C is left
    /// alone.
    ///
    /// [`run_forever`](Self::run_forever) returns then, and
    /// [`try_run_until_complete`](Self::try_run_until_complete) gives an error. A second Ctrl-C
    /// before the run has returned ends the process with the code 130, and so does one while no
    /// such loop is running. Several loops may ask.
    ///
    /// # Errors
    ///
    /// If the process has another handler for Ctrl-C or ignores it, as background jobs of a shell
    /// script do, or if none can be set. A program may go on then.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use aiocontextvars::event_loop::EventLoop;
    ///
    /// let event_loop = EventLoop::new();
    /// event_loop.stop_on_ctrl_c()?;
    /// event_loop.run_forever();
    /// println!("interrupted");
    /// # Ok::<_, aiocontextvars::event_loop::CtrlCError>(())
    /// ```
    pub fn stop_on_ctrl_c(&self) -> Result<(), CtrlCError> {
        {
            let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
            if !*installed {
                ctrlc::try_set_handler(on_ctrl_c).map_err(CtrlCError)?;
                *installed = true;
            }
        }
        let mut loops = LOOPS.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|other| other.strong_count() > 0);
        loops.push(Arc::downgrade(&self.shared));
        Ok(())
    }
}

/// Called on a thread of its own.
fn on_ctrl_c() {
    let loops: Vec<_> = {
        let loops = LOOPS.lock().unwrap_or_else(PoisonError::into_inner);
        loops.iter().filter_map(Weak::upgrade).collect()
    };
    let running = loops
        .iter()
        .filter(|shared| shared.running.load(Ordering::Acquire));
    let mut any = false;
    for shared in running {
        // One that is stopping already does not seem to get there.
        if !shared.stop.load(Ordering::Acquire) {
            shared.stop();
            any = true;
        }
    }
    if !any {
        process::exit(INTERRUPTED);
    }
}

/// Ctrl-C cannot be handled; see [`EventLoop::stop_on_ctrl_c`].
#[derive(Debug)]
pub struct CtrlCError(ctrlc::Error);

impl fmt::Display for CtrlCError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ctrlc::Error::MultipleHandlers => f.write_str(
                "cannot stop the event loop on Ctrl-C: the process handles it elsewhere (call `LoopHandle::stop` there) or \
                 ignores it, as a shell script's background jobs do",
            ),
            _ => write!(f, "cannot stop the event loop on Ctrl-C: {}", self.0),
        }
    }
}

impl Error for CtrlCError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
