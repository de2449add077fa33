//! Work at the very end of a process: while the main thread's locals are destroyed, when `main` has
//! returned.
//!
//! Without the harness, whose tests are not on the main thread. The program runs itself.

use std::env;
use std::process::Command;

use aiocontextvars::shim::ContextAwareExecutor;
use aiocontextvars::{context_var, copy_context};

context_var! {
    static ID: u64;
}

/// Has a blocking job done when it is dropped, and waits for it.
struct AtExit;

impl Drop for AtExit {
    fn drop(&mut self) {
        let executor = ContextAwareExecutor::from_schedule(|step| step.run());
        copy_context().with_value(&ID, 7).run(|| {
            let job = executor.spawn_blocking(|| ID.get());
            println!("{:?}", executor.block_on(job));
        });
    }
}

fn main() {
    thread_local!(static AT_EXIT: AtExit = const { AtExit });
    if env::args().any(|argument| argument == "--child") {
        AT_EXIT.with(|_| ());
        // One that never ends does not hold the process up.
        let executor = ContextAwareExecutor::from_schedule(|step| step.run());
        let endless = || -> () {
            loop {
                std::thread::park()
            }
        };
        executor.spawn_blocking(endless).detach();
        return;
    }
    let program = env::current_exe().unwrap();
    let output = Command::new(program).arg("--child").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"Ok(Some(7))\n", "{output:?}");
    println!("test a_blocking_job_at_the_end_of_the_process ... ok");
}
