//! Over the variables of a context: what is read, written, copied, entered and inherited.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::pin;
use std::task::{self, Poll, Waker};

use aiocontextvars::{Context, ContextExt, ContextVar, copy_context, shim};

use crate::args::Options;
use crate::chart::{Chart, Curve, Page};
use crate::measure::{Progress, nanoseconds};
use crate::runtime::Runtime;

pub(crate) const OPERATIONS: usize = NAMES.len();

const NAMES: [&str; 6] = [
    "get, the same variable",
    "get, all in turn",
    "set",
    "set beside a copy",
    "copy",
    "poll",
];

/// Reading all in turn goes so many variables ahead each time, so that neighbours in memory do not
/// follow. A prime, so that it comes by all.
const STRIDE: usize = 104_729;

pub(crate) fn measure(options: &Options, progress: &Progress) -> Page {
    let sizes = options.variables();
    let mut vars = Vec::new();
    vars.resize_with(*sizes.last().expect("there are sizes"), || {
        ContextVar::named("")
    });
    let mut context = Context::new();
    let mut curves: Vec<Curve> = NAMES.into_iter().map(Curve::new).collect();
    let spawning = Runtime::ALL.iter();
    curves.extend(spawning.map(|runtime| Curve::new(format!("spawn + join, {}", runtime.name()))));
    for size in sizes {
        context.run(|| {
            for (n, var) in vars[..size].iter().enumerate().skip(copy_context().len()) {
                var.set(n as u64);
            }
        });
        assert_eq!(context.len(), size);
        for (place, curve) in curves.iter_mut().enumerate() {
            let figure = progress.step(&curve.name, || {
                figure(options.samples(), place, &mut context, &vars[..size])
            });
            curve.points.push((size, figure));
        }
    }
    Page {
        file: "scale-variables.svg",
        title: "Costs over the variables of a context",
        charts: vec![Chart {
            x: "variables in the context",
            y: "nanoseconds",
            is_log: true,
            curves,
        }],
    }
}

/// The figure of a curve, in a context in which all of `vars` are set.
fn figure(samples: usize, curve: usize, context: &mut Context, vars: &[ContextVar<u64>]) -> f64 {
    let var = &vars[vars.len() / 2];
    let set = || drop(var.set(black_box(7)));
    let set_beside_a_copy = || {
        let _copy = black_box(copy_context());
        set();
    };
    match curve {
        0 => inside(samples, context, || {
            black_box(black_box(var).get());
        }),
        1 => {
            let mut place = 0;
            inside(samples, context, || {
                place = (place + STRIDE) % vars.len();
                black_box(vars[place].get());
            })
        }
        2 => inside(samples, context, set),
        3 => inside(samples, context, set_beside_a_copy),
        4 => inside(samples, context, || drop(black_box(copy_context()))),
        5 => poll(samples, context),
        runtime => spawn(
            samples,
            context,
            Runtime::ALL[runtime - OPERATIONS],
            vars.len(),
        ),
    }
}

fn inside(samples: usize, context: &mut Context, mut operation: impl FnMut()) -> f64 {
    context.run(|| nanoseconds(samples, |times| (0..times).for_each(|_| operation())))
}

fn poll(samples: usize, context: &Context) -> f64 {
    let pending = poll_fn(|_| black_box(Poll::<()>::Pending));
    let mut future = pin!(pending.in_context(context.clone()));
    let mut cx = task::Context::from_waker(Waker::noop());
    nanoseconds(samples, |times| {
        (0..times).for_each(|_| assert!(future.as_mut().poll(&mut cx).is_pending()));
    })
}

fn spawn(samples: usize, context: &mut Context, runtime: Runtime, inherited: usize) -> f64 {
    let started = runtime.start();
    let spawn_and_join = async |times| {
        for _ in 0..times {
            let task = shim::spawn(async { copy_context().len() });
            assert_eq!(task.await.ok(), Some(inherited));
        }
    };
    context.run(|| nanoseconds(samples, |times| started.block_on(spawn_and_join(times))))
}
