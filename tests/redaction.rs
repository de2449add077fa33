//! Values are not printed: not by `Debug`, not by errors, unless their variable was declared
//! `#[debug]`.
//!
//! Every public type is printed while it holds a value that gives itself away, once of a variable
//! that keeps it and once of one that shows it.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::{self, Debug};
use std::future;
use std::panic;
use std::rc::Rc;
use std::sync::mpsc::{self, Sender};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{
    self, ContextAwareExecutor, Executor, Job, JoinSet, LocalExecutor, LocalRunnable, Runnable,
    Runner, TaskGroup,
};
use aiocontextvars::{
    Carried, Context, ContextExt, ContextVar, Fields, WithDefault, channel, context_var,
    copy_context, propagation, task_local,
};

mod public_types;

const GIVEAWAY: &str = "s3cret";

#[derive(Clone)]
struct Secret;

impl Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(GIVEAWAY)
    }
}

context_var! {
    static KEPT: Secret = Secret;
    #[debug]
    static SHOWN: Secret = Secret;
}

task_local! { static SCOPED: Secret; }

type Var = &'static ContextVar<Secret, WithDefault>;

/// What was printed of a type.
#[derive(Debug)]
struct Printed {
    /// As in [`public_types`].
    name: &'static str,
    /// Whether the value is to be seen if its variable is declared `#[debug]`.
    shows: bool,
    text: String,
}

/// Prints values of the public types.
#[derive(Clone)]
struct Printer(Sender<Printed>);

impl Printer {
    fn print(&self, name: &'static str, shows: bool, text: String) {
        self.0.send(Printed { name, shows, text }).unwrap();
    }

    /// Prints what never shows a value.
    fn hides(&self, name: &'static str, value: &dyn Debug) {
        self.debug(name, false, value);
    }

    /// Prints what shows the values of variables that are declared `#[debug]`.
    fn shows(&self, name: &'static str, value: &dyn Debug) {
        self.debug(name, true, value);
    }

    fn debug(&self, name: &'static str, shows: bool, value: &dyn Debug) {
        let text = format!("{value:?}");
        assert!(!text.is_empty(), "{name}");
        self.print(name, shows, format!("{text} {value:#?}"));
    }

    /// Prints an error, whose message never shows a value.
    fn error(&self, name: &'static str, error: &dyn Error) {
        self.hides(name, &error);
        assert!(!error.to_string().is_empty(), "{name}");
        self.print(name, false, error.to_string());
    }
}

/// Prints all public types, with values of `var` in them.
fn print_all(var: Var) -> Vec<Printed> {
    // The handler of `callbacks` is the process's.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (sender, receiver) = mpsc::channel();
    let printer = Printer(sender);
    thread::spawn(move || {
        let Secret = var.get(); // The default is computed.
        var.set(Secret);
        core(var, &printer);
        set_error(var, &printer);
        messages(&printer);
        headers(&printer);
        records(&printer);
        tasks(var, &printer);
        callbacks(&printer);
        event_loop(&printer);
        executors(&printer);
        adapters(&printer);
    })
    .join()
    .unwrap();
    // The handler keeps a sender.
    receiver.try_iter().collect()
}

fn core(var: Var, printer: &Printer) {
    printer.shows("ContextVar", var);
    let context = copy_context();
    printer.shows("Context", &context);
    printer.hides("Iter", &context.iter());
    printer.shows("Entry", &context.iter().next().unwrap());
    let shared = context.clone().share();
    printer.shows("SharedContext", &shared);
    let nested = shared.run(|| {
        // While it is entered as well.
        printer.shows("SharedContext", &shared);
        shared.run(|| ())
    });
    printer.error("AlreadyEntered", &nested.unwrap().unwrap_err());
    printer.hides("WithContext", &future::ready(()).in_context(context));
    printer.hides("WithContext", &future::ready(()).in_context(shared));
    printer.hides("Scope", &var.scope(Secret, future::ready(())));
    printer.hides("Scoped", &var.scoped(Secret));
    printer.hides("LocalKey", &SCOPED);
    SCOPED.sync_scope(Secret, || printer.hides("LocalKey", &SCOPED));
    printer.hides("TaskLocalFuture", &SCOPED.scope(Secret, future::ready(())));
    printer.error("AccessError", &SCOPED.try_with(|_| ()).unwrap_err());

    let token = var.set(Secret);
    printer.shows("Token", &token);
    let error = copy_context().run(|| var.reset(token)).unwrap_err();
    printer.shows("ResetError", &error);
    printer.print("ResetError", false, error.to_string());
    printer.hides("ResetErrorKind", &error.kind());

    let unset: ContextVar<Secret> = ContextVar::new("unset");
    printer.error("LookupError", &unset.try_get().unwrap_err());
}

/// Sets a variable when the thread's locals are destroyed, and prints that it could not.
struct SetsAtExit(Var, Printer);

impl Drop for SetsAtExit {
    fn drop(&mut self) {
        let error = self.0.try_set(Secret).unwrap_err();
        self.1.hides("SetErrorKind", &error.kind());
        self.1.hides("SetError", &error);
        self.1.print("SetError", false, error.to_string());
        let values = Context::new().with_value(self.0, Secret);
        let error = values.try_apply().unwrap_err();
        self.1.error("ApplyError", &error);
    }
}

fn set_error(var: Var, printer: &Printer) {
    thread_local! {
        static AT_EXIT: RefCell<Option<SetsAtExit>> = const { RefCell::new(None) };
    }
    let printer = printer.clone();
    let thread = thread::spawn(move || {
        // Locals are destroyed in the reverse order of their first uses, so that the context goes
        // before this one.
        AT_EXIT.set(Some(SetsAtExit(var, printer)));
        var.set(Secret);
    });
    thread.join().unwrap();
}

fn messages(printer: &Printer) {
    printer.shows("Carried", &Carried::new(()));
    let (sender, receiver) = channel::carrying(futures::channel::mpsc::unbounded());
    sender.unbounded_send(Secret).unwrap();
    printer.hides("channel::Sender", &sender);
    printer.hides("channel::Receiver", &receiver);
    drop(receiver);
    let error = sender.unbounded_send(Secret).unwrap_err();
    printer.error("channel::SendError", &error);
    #[cfg(feature = "async-channel")]
    {
        let (sender, receiver) = channel::carrying(async_channel::bounded(1));
        sender.try_send(Secret).unwrap();
        printer.hides("channel::Sender", &sender);
        printer.hides("channel::Receiver", &receiver);
    }
    #[cfg(feature = "tokio")]
    {
        let (sender, receiver) = channel::carrying(tokio::sync::mpsc::channel(1));
        sender.try_send(Secret).unwrap();
        printer.hides("channel::Sender", &sender);
        printer.hides("channel::Receiver", &receiver);
    }
}

fn headers(printer: &Printer) {
    context_var! { static RECEIVED: String; static NUMBER: u8; }
    let propagator = propagation::Propagator::new().both("text", &RECEIVED);
    let propagator = propagator.both("number", &NUMBER).pass_on();
    let headers = format!("text={GIVEAWAY},other={GIVEAWAY},number={GIVEAWAY}");
    let headers = vec![("baggage".to_owned(), headers)];
    let received = propagator.extract(copy_context(), &headers);
    printer.hides("propagation::Propagator", &propagator);
    printer.shows("propagation::Extracted", &received);
    printer.error("propagation::Problem", &received.problems[0]);
    printer.hides("propagation::ProblemKind", &received.problems[0].kind());
}

fn records(printer: &Printer) {
    context_var! { static LINE: String; }
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| Fields::new().with("line", &LINE));
    LINE.set(GIVEAWAY.to_owned());
    printer.hides("Fields", &*FIELDS);
    #[cfg(feature = "tracing-subscriber")]
    {
        use aiocontextvars::bridge::tracing_subscriber::{Json, SpanFields, Text};
        printer.hides("bridge::tracing_subscriber::Text", &Text::new((), &FIELDS));
        printer.hides("bridge::tracing_subscriber::Json", &Json::new((), &FIELDS));
        let spans = SpanFields::new((), &FIELDS);
        printer.hides("bridge::tracing_subscriber::SpanFields", &spans);
    }
    #[cfg(feature = "log")]
    {
        use aiocontextvars::bridge::log::Logger;

        #[derive(Debug)]
        struct Quiet;
        impl log::Log for Quiet {
            fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                false
            }

            fn log(&self, _: &log::Record<'_>) {}

            fn flush(&self) {}
        }
        printer.hides("bridge::log::Logger", &Logger::text(Quiet, &FIELDS));
    }
}

fn tasks(var: Var, printer: &Printer) {
    // On a loop of its own, so that nothing runs before it is waited for.
    EventLoop::new().run_until_complete(async {
        let task = shim::spawn(async move { var.get() });
        printer.hides("JoinHandle", &task);
        printer.hides("TaskId", &task.id());
        printer.hides("AbortHandle", &task.abort_handle());
        printer.hides("DoneCallbackId", &task.add_done_callback(|| ()));
        task.abort();
        printer.error("JoinError", &task.await.unwrap_err());
        let panics = shim::spawn(async { panic::panic_any(Secret) });
        printer.error("JoinError", &panics.await.unwrap_err());

        let mut set = JoinSet::new();
        set.spawn(async { Secret });
        printer.hides("JoinSet", &set);
        let group = TaskGroup::new();
        let failing = group.spawn(async { Err::<(), _>(Secret) });
        failing.await.unwrap();
        printer.hides("TaskGroup", &group);
        // Errors of tasks are not values of variables. They are printed, and the group's own words
        // are few.
        let outcome = TaskGroup::scope(async |_| {
            var.set(Secret);
            Err::<(), _>(fmt::Error)
        });
        let error = outcome.await.unwrap_err();
        printer.error("TaskGroupError", &error);
        printer.hides("TaskFailure", &error.failures()[0]);

        printer.hides("Sleep", &shim::sleep(Duration::ZERO));
        let timeout = shim::timeout(Duration::ZERO, future::pending::<()>());
        printer.hides("Timeout", &timeout);
        printer.error("Elapsed", &timeout.await.unwrap_err());
        printer.hides("YieldNow", &shim::yield_now());
    });
    let mut runner = Runner::new();
    runner.run(async { var.set(Secret) });
    printer.shows("Runner", &runner);
}

fn callbacks(printer: &Printer) {
    let errors = printer.clone();
    let before = shim::set_exception_handler(move |error| errors.error("CallError", error));
    printer.hides("ExceptionHandler", &before);
    EventLoop::new().run_until_complete(async {
        printer.hides("CallHandle", &shim::call_soon(|| panic::panic_any(Secret)));
        printer.hides("TimerHandle", &shim::call_later(Duration::ZERO, || ()));
        shim::sleep(Duration::from_millis(1)).await;
    });
}

fn event_loop(printer: &Printer) {
    let event_loop = EventLoop::new();
    event_loop.call_soon(|| ());
    printer.hides("event_loop::EventLoop", &event_loop);
    printer.hides("event_loop::LoopHandle", &event_loop.handle());
    event_loop.set_debug(true);
    event_loop.set_slow_callback_duration(Duration::ZERO);
    let slow = printer.clone();
    event_loop.set_slow_callback_handler(move |callback| {
        slow.hides("event_loop::SlowCallback", callback);
        slow.print("event_loop::SlowCallback", false, callback.to_string());
    });
    event_loop.run_until_complete(async {
        let nested = event_loop.try_run_forever();
        printer.error("BlockOnError", &nested.unwrap_err());
    });
}

/// Prints what it is given to run, and drops it.
struct Prints(Printer);

impl Executor for Prints {
    fn schedule(&self, task: Runnable) {
        self.0.hides("Runnable", &task);
    }

    fn spawn_blocking(&self, job: Job) {
        self.0.hides("Job", &job);
    }
}

struct PrintsHere(Printer);

impl LocalExecutor for PrintsHere {
    fn schedule_local(&self, task: LocalRunnable) {
        self.0.hides("LocalRunnable", &task);
    }
}

fn executors(printer: &Printer) {
    let executor = ContextAwareExecutor::new(Prints(printer.clone()));
    executor.spawn(async {}).detach();
    executor.spawn_blocking(|| ()).detach();
    let local = ContextAwareExecutor::new(Rc::new(PrintsHere(printer.clone())));
    local.spawn_local(async {}).detach();

    let (sender, receiver) = mpsc::channel::<Runnable>();
    let from_schedule = ContextAwareExecutor::from_schedule(move |task| drop(sender.send(task)));
    from_schedule.spawn(async {}).detach();
    printer.hides("EnterGuard", &from_schedule.enter());
    printer.hides("FromSchedule", from_schedule.get_ref());
    printer.hides("ContextAwareExecutor", &from_schedule);
    drop(receiver);
    let fixed = ContextAwareExecutor::fixed((), copy_context());
    printer.shows("ContextAwareExecutor", &fixed);
    if let Err(error) = shim::try_spawn(async {}) {
        printer.error("NoRuntime", &error);
    }
    printer.hides("thread::Builder", &shim::thread::Builder::new());
    shim::thread::scope(|scope| printer.hides("thread::Scope", &scope));
}

fn adapters(printer: &Printer) {
    #[cfg(feature = "async-std")]
    {
        printer.hides("async_std::Global", &shim::async_std::Global::default());
        printer.hides("async_std::Local", &shim::async_std::Local::default());
    }
    #[cfg(feature = "rayon")]
    {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
        let pool = pool.build().unwrap();
        let on = shim::rayon::on(&pool);
        printer.hides("rayon::Pool", &on);
        on.scope(|scope| printer.hides("rayon::Scope", &scope));
        let items = rayon::iter::empty::<u8>().in_context(copy_context());
        printer.hides("WithContext", &items);
    }
    #[cfg(feature = "smol")]
    printer.hides("smol::Global", &shim::smol::Global::default());
    #[cfg(feature = "tower")]
    {
        use shim::tower::{ContextLayer, Inherit};
        use tower_layer::Layer;

        let context = copy_context();
        let layer = ContextLayer::with(move |_: &u8| context.clone());
        printer.hides("tower::ContextLayer", &layer);
        printer.hides("tower::ContextService", &layer.layer(()));
        printer.hides("tower::Inherit", &Inherit::default());
        let carry = shim::tower::CarryLayer::new();
        printer.hides("tower::CarryLayer", &carry);
        printer.hides("tower::CarryService", &carry.layer(()));
        let restore = shim::tower::RestoreLayer::new();
        printer.hides("tower::RestoreLayer", &restore);
        printer.hides("tower::RestoreService", &restore.layer(()));
    }
    #[cfg(all(feature = "tower", feature = "http-body"))]
    {
        use std::sync::LazyLock;
        use std::task::{self, Poll};

        use http::{Request, Response};
        use shim::tower::{HttpContextLayer, InjectLayer};
        use tower_layer::Layer;
        use tower_service::Service;

        /// Answers at once.
        struct Answers;
        impl Service<Request<()>> for Answers {
            type Response = Response<()>;
            type Error = fmt::Error;
            type Future = future::Ready<Result<Response<()>, fmt::Error>>;

            fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), fmt::Error>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, _: Request<()>) -> Self::Future {
                future::ready(Ok(Response::new(())))
            }
        }

        static EMPTY: LazyLock<propagation::Propagator> =
            LazyLock::new(propagation::Propagator::new);
        let context = copy_context();
        let layer = HttpContextLayer::with(move |_: &Request<()>| context.clone());
        let layer = layer.extracting(&EMPTY);
        printer.hides("tower::HttpContextLayer", &layer);
        printer.hides("tower::HttpContextService", &layer.layer(()));
        let answer = layer.layer(Answers).call(Request::new(()));
        printer.hides("tower::HttpContextFuture", &answer);
        let layer = InjectLayer::new(&EMPTY);
        printer.hides("tower::InjectLayer", &layer);
        printer.hides("tower::InjectService", &layer.layer(()));
    }
    let _ = printer;
}

#[test]
fn values_are_redacted_unless_their_variable_is_declared_debug() {
    for printed in print_all(&KEPT) {
        assert!(!printed.text.contains(GIVEAWAY), "{printed:?}");
    }
    for printed in print_all(&SHOWN) {
        let shows = printed.text.matches(GIVEAWAY).count();
        assert_eq!(shows, if printed.shows { 2 } else { 0 }, "{printed:?}");
    }
}

#[test]
fn every_public_type_is_printed() {
    // Five have no values. Of the others, one is the value that a program writes to its log, one
    // names a type, and no context comes near the last, whose cause the test cannot give rise to.
    let left_out = [
        "FieldValue",
        "NoDefault",
        "ScopeContext",
        "WithDefault",
        "bridge::tracing::CurrentDispatch",
        "bridge::tracing::CurrentSpan",
        "companion::AlreadyRegistered",
        "event_loop::CtrlCError",
    ];
    let printed = print_all(&KEPT);
    public_types::check(printed.iter().map(|printed| printed.name), &left_out);
}

#[test]
fn variables_that_show_their_values_do_not_show_those_of_others() {
    let context = Context::new()
        .with_value(&KEPT, Secret)
        .with_value(&SHOWN, Secret);
    for text in [format!("{context:?}"), format!("{:?}", context.share())] {
        assert!(text.contains("KEPT: <redacted>"), "{text}");
        assert!(text.contains("SHOWN: s3cret"), "{text}");
    }
}
