//! What carries values into a task: this crate, its peers, and nothing.

use std::sync::{Once, OnceLock};

use aiocontextvars::{Context, ContextExt, ContextVar, context_var};
use fastrace::prelude::{SpanContext, SpanRecord};
use futures::FutureExt;
use futures::future;
use opentelemetry::Context as OtelContext;
use tokio_inherit_task_local::FutureInheritTaskLocal;
use tracing::Instrument;

/// A value that all of them carry.
pub(crate) const VALUE: u64 = 7;

context_var! {
    pub(crate) static ID: u64;
    pub(crate) static NAME: String;
    pub(crate) static DEFAULT: u64 = VALUE;
    pub(crate) static UNSET: u64;
}

/// Any number of variables, at most 100,000.
pub(crate) fn variables(number: usize) -> &'static [ContextVar<u64>] {
    static VARIABLES: OnceLock<Vec<ContextVar<u64>>> = OnceLock::new();
    let create = || {
        (0..100_000)
            .map(|n| ContextVar::named(n.to_string()))
            .collect()
    };
    &VARIABLES.get_or_init(create)[..number]
}

/// A context with that many variables, `ID` among them, that nobody shares.
pub(crate) fn context(number: usize) -> Context {
    let mut context = Context::new();
    context.run(|| {
        for variable in variables(number - 1) {
            variable.set(VALUE);
        }
        ID.set(VALUE);
    });
    context
}

pub(crate) fn text() -> String {
    "request 0123456789abcdef".to_owned()
}

tokio::task_local! {
    pub(crate) static TASK_LOCAL: u64;
    pub(crate) static TASK_LOCAL_TEXT: String;
}

tokio_inherit_task_local::inheritable_task_local! {
    pub(crate) static INHERITED: u64;
    pub(crate) static INHERITED_TEXT: String;
}

/// OpenTelemetry's keys are types.
#[derive(Clone, Copy)]
pub(crate) struct Value<const N: usize>(pub(crate) u64);

pub(crate) struct Text(pub(crate) String);

/// OpenTelemetry's context with that many values, `Value<0>` among them, at most 100.
pub(crate) fn otel(number: usize) -> OtelContext {
    type Add = fn(&OtelContext) -> OtelContext;
    fn add<const N: usize>(context: &OtelContext) -> OtelContext {
        context.with_value(Value::<N>(VALUE))
    }
    macro_rules! tens {
        ($($ten:literal)*) => { [$(ones!($ten: 0 1 2 3 4 5 6 7 8 9)),*] };
    }
    macro_rules! ones {
        ($ten:literal: $($one:literal)*) => { [$(add::<{ $ten * 10 + $one }> as Add),*] };
    }
    let all = tens!(0 1 2 3 4 5 6 7 8 9);
    let some = all.as_flattened().iter().take(number);
    some.fold(OtelContext::new(), |context, add| add(&context))
}

pub(crate) const DCONTEXT_ID: &str = "0";
pub(crate) const DCONTEXT_TEXT: &str = "text";

/// dcontext's keys, which have to be registered before they are used.
pub(crate) fn dcontext_keys(number: usize) -> &'static [&'static str] {
    static KEYS: OnceLock<Vec<&'static str>> = OnceLock::new();
    let register = || {
        let keys: Vec<&str> = (0..256)
            .map(|n| &*Box::leak(n.to_string().into_boxed_str()))
            .collect();
        let mut builder = dcontext::RegistryBuilder::new();
        for key in &keys {
            builder.register::<u64>(key);
        }
        builder.register::<String>(DCONTEXT_TEXT);
        dcontext::initialize(builder);
        keys
    };
    &KEYS.get_or_init(register)[..number]
}

/// Runs `f` with that many values, `DCONTEXT_ID` among them.
pub(crate) fn with_dcontext<R>(number: usize, f: impl FnOnce() -> R) -> R {
    let keys = dcontext_keys(number);
    let _outer = dcontext::attach_store(dcontext::ContextSnapshot::empty().into());
    for key in keys {
        dcontext::set_context_variable(key, VALUE);
    }
    f()
}

/// Spans that are recorded, and go nowhere.
pub(crate) fn trace() {
    struct Nowhere;
    impl fastrace::collector::Reporter for Nowhere {
        fn report(&mut self, _spans: Vec<SpanRecord>) {}
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        fastrace::set_reporter(Nowhere, fastrace::collector::Config::default());
        tracing::subscriber::set_global_default(tracing_subscriber::registry())
            .expect("nothing else sets a subscriber");
    });
}

/// Lets fastrace's collector have the spans of a sample, so that it is not at work in the next one,
/// which is another's.
pub(crate) fn collected(mut sample: impl FnMut(u32) -> f64) -> impl FnMut(u32) -> f64 {
    move |n| {
        let total = sample(n);
        fastrace::flush();
        total
    }
}

/// How a value gets into a task.
pub(crate) trait Carrier: Copy + Send + 'static {
    /// Runs `future` where there are values.
    fn around<F>(self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send> + Send + 'static;

    /// What is spawned from there, so that `future` has them.
    fn task<F>(self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send> + Send + 'static;
}

/// Implements `Carrier` by two expressions.
macro_rules! carrier {
    ($(#[$attribute:meta])* $name:ident { $($field:ident)? }, |$self:ident, $future:ident| $around:expr, $task:expr) => {
        $(#[$attribute])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name { $(pub(crate) $field: usize)? }

        impl Carrier for $name {
            fn around<F>($self, $future: F) -> impl Future<Output = F::Output> + Send + 'static
            where
                F: Future<Output: Send> + Send + 'static,
            {
                $around
            }

            fn task<F>($self, $future: F) -> impl Future<Output = F::Output> + Send + 'static
            where
                F: Future<Output: Send> + Send + 'static,
            {
                $task
            }
        }
    };
}

carrier!(
    /// The runtime alone.
    Bare {}, |self, future| future, future
);

carrier!(
    Ours { variables },
    |self, future| future.in_context(context(self.variables)),
    future.in_current_context()
);

carrier!(
    TaskLocal {},
    |self, future| TASK_LOCAL.scope(VALUE, future),
    TASK_LOCAL.scope(TASK_LOCAL.get(), future)
);

/// A scope for each variable, as there is no other way.
macro_rules! nested {
    ($future:ident, $value:ident,) => { $future };
    ($future:ident, $value:ident, $key:ident $($rest:ident)*) => {
        $key.scope($value!($key), nested!($future, $value, $($rest)*))
    };
}
macro_rules! first {
    ($key:ident) => {
        VALUE
    };
}
macro_rules! again {
    ($key:ident) => {
        $key.get()
    };
}
tokio::task_local! {
    static A: u64; static B: u64; static C: u64; static D: u64; static E: u64;
    static F: u64; static G: u64; static H: u64; static I: u64; static J: u64;
}
carrier!(
    EightTaskLocals {},
    |self, future| nested!(future, first, A B C D E F G H),
    nested!(future, again, A B C D E F G H)
);
carrier!(
    TenTaskLocals {},
    |self, future| nested!(future, first, A B C D E F G H I J),
    nested!(future, again, A B C D E F G H I J)
);

type InheritableKey = tokio_inherit_task_local::InheritableLocalKey<u64>;

/// At most 100 of tokio-inherit-task-local's keys, `INHERITED` among them. Its macro makes the
/// same, with other numbers.
fn inheritable(number: usize) -> Vec<&'static InheritableKey> {
    static KEYS: OnceLock<Vec<InheritableKey>> = OnceLock::new();
    let key = |key| InheritableKey {
        key,
        _phantom: std::marker::PhantomData,
    };
    let keys = KEYS.get_or_init(|| (1..100).map(key).collect());
    keys[..number - 1].iter().chain([&INHERITED]).collect()
}

/// Runs `f` in scopes of that many keys.
pub(crate) fn with_inheritable<R>(number: usize, f: impl FnOnce() -> R) -> R {
    let mut f = Some(f);
    let mut result = None;
    let mut innermost = || result = f.take().map(|f| f());
    fn enter(keys: &[&'static InheritableKey], f: &mut dyn FnMut()) {
        match keys {
            [] => f(),
            [key, rest @ ..] => key.sync_scope(VALUE, || enter(rest, f)),
        }
    }
    enter(&inheritable(number), &mut innermost);
    result.expect("it was called")
}

carrier!(
    Inherit { variables },
    |self, future| with_inheritable(self.variables, || future.inherit_task_local()),
    future.inherit_task_local()
);

carrier!(
    Dcontext { variables },
    |self, future| {
        let keys = dcontext_keys(self.variables);
        let set = async move {
            // Into the task's own store: a fork of a fork would not see them.
            for key in keys {
                dcontext::set_context_variable(key, VALUE);
            }
            future.await
        };
        dcontext::ContextFutureExt::fork(set)
    },
    dcontext::ContextFutureExt::fork(future)
);

carrier!(
    Otel { variables },
    |self, future| opentelemetry::context::FutureExt::with_context(future, otel(self.variables)),
    opentelemetry::context::FutureExt::with_current_context(future)
);

carrier!(
    Tracing {},
    |self, future| {
        trace();
        future.instrument(tracing::info_span!("request"))
    },
    future.in_current_span()
);

carrier!(
    Fastrace {},
    |self, future| {
        trace();
        let root = fastrace::Span::root("request", SpanContext::random());
        fastrace::future::FutureExt::in_span(future, root)
    },
    {
        let span = fastrace::Span::enter_with_local_parent("task");
        fastrace::future::FutureExt::in_span(future, span)
    }
);

/// What is spawned from where there are values.
pub(crate) fn carried<C, F>(
    carrier: C,
    future: F,
) -> impl Future<Output = F::Output> + Send + 'static
where
    C: Carrier,
    F: Future<Output: Send> + Send + 'static,
{
    let capture = carrier.around(future::lazy(move |_| carrier.task(future)));
    capture.now_or_never().expect("it does not wait")
}
