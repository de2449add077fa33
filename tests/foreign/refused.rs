//! What is checked in every task that the shim did not spawn, where its runtime can tell.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use aiocontextvars::{
    Context, ContextExt, SetErrorKind, SharedContext, Token, copy_context, inherit_context, shim,
};

use super::fixtures::{Drops, HELD, ID, TENANT};
use super::{seen, write};

/// The text of the panic of `f`, and the file that is blamed for it.
pub(crate) fn panic_of(f: impl FnOnce()) -> (String, String) {
    thread_local! {
        static EXPECTED: RefCell<Option<String>> = const { RefCell::new(None) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let file = info.location().map(|location| location.file().to_owned());
            EXPECTED.with_borrow_mut(|expected| match expected {
                Some(expected) => *expected = file.unwrap_or_default(),
                None => others(info),
            });
        }));
    });
    EXPECTED.set(Some(String::new()));
    let payload = panic::catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    let file = EXPECTED.take().unwrap();
    let text = payload.downcast::<String>().map(|text| *text);
    let text = text.unwrap_or_else(|payload| (*payload.downcast::<&str>().unwrap()).to_owned());
    (text, file)
}

/// Calls a function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Checks that no kind of write goes through in the running task, and that none leaves anything
/// behind.
pub(crate) fn writes_are_refused() {
    let before = seen();
    let drops = Drops::new();

    let error = ID.try_set(5).unwrap_err();
    assert_eq!(
        (error.kind(), error.var_name()),
        (SetErrorKind::ForeignTask, "ID")
    );
    for remedy in [
        "`ID.scope(value, future)`",
        "`.in_current_context()`",
        "`shim::tower::HttpContextLayer`",
        "`shim::spawn`",
        "`shim::bind`",
        "`let base = inherit_context().without_companions();`",
    ] {
        assert!(error.to_string().contains(remedy), "{error}");
    }
    let message = error.to_string();
    assert_eq!(error.into_value(), 5);
    let value = HELD.try_set(drops.value()).unwrap_err().into_value();
    assert_eq!(drops.count(), 0);
    drop(value);
    assert_eq!(drops.count(), 1);

    assert_eq!(ID.try_unset().unwrap_err().to_string(), message);
    assert_eq!(
        ID.try_update(|_| unreachable!()).unwrap_err().to_string(),
        message
    );
    assert_eq!(ID.try_scoped(6).unwrap_err().into_value(), 6);
    let refusals: [fn(); 4] = [
        || drop(ID.set(5)),
        || drop(ID.unset()),
        || drop(ID.update(|_| unreachable!())),
        || drop(ID.scoped(5)),
    ];
    for refused in refusals {
        assert_eq!(panic_of(refused), (message.clone(), file!().to_owned()));
        assert_eq!(seen(), before);
    }
    let values = Context::new().with_value(&ID, 5);
    assert_eq!(
        values.try_apply().unwrap_err().kind(),
        SetErrorKind::ForeignTask
    );
    let (text, file) = panic_of(|| values.apply());
    assert_eq!(
        (text, file.as_str()),
        (values.try_apply().unwrap_err().to_string(), file!())
    );
    assert_eq!(seen(), before);
    panic_of(|| drop(HELD.set(drops.value())));
    panic_of(|| drop(HELD.scoped(drops.value())));
    assert_eq!(drops.count(), 3);

    // A panic while the thread unwinds would end the process: the write is dropped, and its token
    // is of no use.
    let mut token: Option<Token<u64>> = None;
    let (text, _) = panic_of(|| {
        let _writes = OnDrop(|| {
            token = Some(ID.set(5));
            HELD.set(drops.value());
            drop(HELD.scoped(drops.value()));
            ID.unset();
            ID.update(|_| unreachable!());
            Context::new().with_value(&ID, 5).apply();
            assert_eq!(seen(), before);
        });
        panic!("on purpose");
    });
    assert_eq!((text.as_str(), drops.count()), ("on purpose", 5));
    let token = token.unwrap();
    assert_eq!(token.old_value(), None);
    assert!(ID.reset(token).is_err());
    assert_eq!(seen(), before);
}

/// Checks that reading works in the running task, and finds defaults and nothing else.
pub(crate) fn reads_nothing() {
    assert_eq!(ID.get(), None);
    assert_eq!(ID.get_or(9), 9);
    assert!(ID.try_get().is_err());
    assert_eq!(ID.with(|value| value.copied()), None);
    assert_eq!((copy_context().len(), inherit_context().len()), (0, 0));
    assert_eq!(TENANT.get(), "public");
}

/// Checks that what the message of the refusal recommends works in the running task, and whatever
/// else enters a context, and that none of it comes out.
pub(crate) async fn remedies_work() {
    let before = seen();
    let written = Some(before.0.unwrap_or(0) + 100);
    let write_later = || async {
        // On a runtime of several threads it may go on on another one.
        let first = write();
        shim::yield_now().await;
        assert_eq!(ID.get(), first);
        first
    };

    assert_eq!(ID.scope(1, write_later()).await, Some(101));
    assert_eq!(write_later().in_current_context().await, written);
    assert_eq!(shim::spawn(write_later()).await.unwrap(), written);
    #[cfg(feature = "tower")]
    assert_eq!(super::layered::call().await, written);

    assert_eq!(shim::spawn_blocking(write).await.unwrap(), written);
    let (sender, receiver) = futures::channel::oneshot::channel();
    shim::call_soon(|| sender.send(write()).unwrap());
    assert_eq!(receiver.await, Ok(written));
    assert_eq!(ID.sync_scope(2, write), Some(102));
    assert_eq!(copy_context().run(write), written);
    assert_eq!(shim::bind(write)(), written);
    let shared = SharedContext::new();
    assert_eq!(shared.run(write), Ok(Some(100)));
    assert_eq!(shared.get(&ID), Some(100));

    writes_are_refused();
    assert_eq!(seen(), before);
}
