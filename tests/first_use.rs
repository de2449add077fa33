//! What the first use of a shim changes in a process: tasks that it did not spawn are known from then on.
//!
//! There is one test, because there is one first use.
#![cfg(feature = "tokio")]

use aiocontextvars::{SetErrorKind, context_var, copy_context, shim};

context_var! {
    static ID: u64;
}

#[test]
fn from_the_first_use_of_the_shim_a_task_cannot_write_to_its_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        // Nobody has asked tokio yet: a value goes to the thread, and whoever runs there next has it.
        tokio::spawn(async { ID.set(1) }).await.unwrap();
        assert_eq!(tokio::spawn(async { ID.get() }).await.unwrap(), Some(1));
    });
    assert_eq!((ID.get(), copy_context().len()), (Some(1), 1));
    ID.unset();

    runtime.block_on(async {
        shim::spawn(async {}).await.unwrap();
        let error = tokio::spawn(async { ID.try_set(1).unwrap_err() });
        assert_eq!(error.await.unwrap().kind(), SetErrorKind::ForeignTask);
        assert_eq!(tokio::spawn(async { ID.get() }).await.unwrap(), None);
    });
    assert_eq!((ID.get(), copy_context().len()), (None, 0));
}
