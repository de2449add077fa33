//! Reading.

use std::cell::{Cell, RefCell};
use std::hint::black_box;

use opentelemetry::Context as OtelContext;

use crate::carriers::{
    DCONTEXT_ID, DCONTEXT_TEXT, DEFAULT, ID, INHERITED, INHERITED_TEXT, NAME, TASK_LOCAL,
    TASK_LOCAL_TEXT, Text, UNSET, VALUE, Value, context, dcontext_keys, otel, text, variables,
    with_dcontext, with_inheritable,
};
use crate::sampling::{Contest, Row, time};
use crate::threads::beside;

pub(crate) const ROWS: &[Row] = &[
    Row::new("get_u64_1", "get of a u64, the only variable", || {
        get_u64(1).peer("self", ours(1))
    }),
    Row::new("get_u64_10", "one of 10 variables", || get_u64(10)),
    Row::new("get_u64_100", "one of 100 variables", || get_u64(100)),
    Row::new("get_u64_100000", "one of 100,000 variables", || {
        Contest::new(ours(100_000))
            .peer("self_1", ours(1))
            .peer("tokio_task_local", task_local)
            .peer("floor", floor)
    }),
    Row::new(
        "get_u64_cycle_256",
        "256 variables, one after the other",
        get_cycle,
    ),
    Row::new(
        "get_string_1",
        "get of a String of 24 bytes, which is cloned",
        get_string,
    ),
    Row::new("get_default", "get of a default", || {
        let mut context = context(1);
        Contest::new(move |n| context.run(|| time(n, || black_box(&DEFAULT).get())))
            .peer("self_1", ours(1))
            .peer("thread_local", thread_local)
            .python("contextvars", "get_default", 1)
    }),
    Row::new(
        "get_unset",
        "get of a variable that has no value",
        get_unset,
    ),
    Row::new(
        "get_after_switch",
        "another context is entered for each get",
        get_after_switch,
    ),
    Row::new(
        "get_two_threads",
        "get, while another thread reads the same context",
        get_two_threads,
    )
    .long(),
    Row::new("with_u64_1", "a look at a u64 by reference", with_u64),
];

thread_local! {
    static FLOOR: Cell<u64> = const { Cell::new(VALUE) };
    /// One that is initialised by its first use.
    static LAZY: Cell<u64> = Cell::new(black_box(VALUE));
    static LAZY_TEXT: RefCell<String> = RefCell::new(text());
    static MANY: [Cell<u64>; 256] = const { [const { Cell::new(VALUE) }; 256] };
}

fn ours(variables: usize) -> impl FnMut(u32) -> f64 {
    let mut context = context(variables);
    move |n| context.run(|| time(n, || black_box(&ID).get()))
}

fn task_local(n: u32) -> f64 {
    TASK_LOCAL.sync_scope(VALUE, || time(n, || black_box(&TASK_LOCAL).get()))
}

fn thread_local(n: u32) -> f64 {
    time(n, || black_box(&LAZY).get())
}

/// A load from the thread's locals.
fn floor(n: u32) -> f64 {
    time(n, || FLOOR.with(|cell| black_box(cell).get()))
}

fn in_dcontext<R>(number: usize, n: u32, operation: impl FnMut() -> R) -> f64 {
    with_dcontext(number, || time(n, operation))
}

fn get_u64(variables: usize) -> Contest {
    let contest = Contest::new(ours(variables))
        .peer("tokio_task_local", task_local)
        .peer("tokio_inherit", move |n| {
            with_inheritable(variables, || time(n, || black_box(&INHERITED).get()))
        })
        .peer("dcontext", move |n| {
            in_dcontext(variables, n, || {
                dcontext::get_context_variable::<u64>(black_box(DCONTEXT_ID))
            })
        })
        .peer("opentelemetry", move |n| {
            let _outer = otel(variables).attach();
            time(n, || {
                OtelContext::map_current(|context| context.get::<Value<0>>().map(|value| value.0))
            })
        })
        .peer("thread_local", thread_local)
        .peer("floor", floor)
        .python("contextvars", "get", variables);
    match variables {
        1 => contest,
        _ => contest.peer("self_1", ours(1)),
    }
}

fn get_cycle() -> Contest {
    fn cycle<T, R>(n: u32, all: &[T], mut get: impl FnMut(&T) -> R) -> f64 {
        let mut all = all.iter().cycle();
        time(n, || get(all.next().expect("it has no end")))
    }
    let mut context = context(257);
    Contest::new(move |n| {
        context.run(|| cycle(n, variables(256), |variable| black_box(variable).get()))
    })
    .peer("self_1", ours(1))
    .peer("dcontext", |n| {
        with_dcontext(256, || {
            cycle(n, dcontext_keys(256), |key| {
                dcontext::get_context_variable::<u64>(black_box(key))
            })
        })
    })
    .peer("floor", |n| {
        MANY.with(|many| cycle(n, many, |cell| black_box(cell).get()))
    })
}

fn get_string() -> Contest {
    let mut context = context(1).with_value(&NAME, text());
    let floor = text();
    Contest::new(move |n| context.run(|| time(n, || black_box(&NAME).get())))
        .peer("tokio_task_local", |n| {
            TASK_LOCAL_TEXT.sync_scope(text(), || time(n, || black_box(&TASK_LOCAL_TEXT).get()))
        })
        .peer("tokio_inherit", |n| {
            INHERITED_TEXT.sync_scope(text(), || time(n, || black_box(&INHERITED_TEXT).get()))
        })
        .peer("dcontext", |n| {
            with_dcontext(0, || {
                dcontext::set_context_variable(DCONTEXT_TEXT, text());
                time(n, || {
                    dcontext::get_context_variable::<String>(black_box(DCONTEXT_TEXT))
                })
            })
        })
        .peer("opentelemetry", |n| {
            let _outer = OtelContext::new().with_value(Text(text())).attach();
            time(n, || {
                OtelContext::map_current(|context| context.get::<Text>().map(|text| text.0.clone()))
            })
        })
        .peer("thread_local", |n| {
            time(n, || black_box(&LAZY_TEXT).with_borrow(String::clone))
        })
        .peer("floor", move |n| time(n, || black_box(&floor).clone()))
}

fn get_unset() -> Contest {
    let mut context = context(1);
    Contest::new(move |n| context.run(|| time(n, || black_box(&UNSET).get())))
        .peer("self_1", ours(1))
        .peer("tokio_task_local", |n| {
            time(n, || black_box(&TASK_LOCAL).try_get().ok())
        })
        .peer("tokio_inherit", |n| {
            time(n, || black_box(&INHERITED).try_with(|value| *value).ok())
        })
        .peer("dcontext", |n| {
            in_dcontext(1, n, || {
                dcontext::get_context_variable::<u64>(black_box("unset"))
            })
        })
        .peer("opentelemetry", |n| {
            let _outer = otel(1).attach();
            time(n, || {
                OtelContext::map_current(|context| context.get::<Value<1>>().map(|value| value.0))
            })
        })
        .peer("floor", floor)
        .python("contextvars", "get_unset", 1)
}

/// Two contexts take turns; entering them is part of it.
fn get_after_switch() -> Contest {
    let mut contexts = [context(1), context(1)];
    let mut turn = 0;
    Contest::new(move |n| {
        time(n, || {
            turn ^= 1;
            contexts[turn].run(|| black_box(&ID).get())
        })
    })
    .peer("self_1", ours(1))
    .peer("tokio_task_local", |n| {
        time(n, || {
            TASK_LOCAL.sync_scope(VALUE, || black_box(&TASK_LOCAL).get())
        })
    })
    .peer("opentelemetry", |n| {
        let contexts = [otel(1), otel(1)];
        let mut turn = 0;
        time(n, || {
            turn ^= 1;
            let _entered = contexts[turn].clone().attach();
            OtelContext::map_current(|context| context.get::<Value<0>>().map(|value| value.0))
        })
    })
    .python("contextvars", "get_after_switch", 1)
}

fn get_two_threads() -> Contest {
    const AT_A_TIME: u32 = 64;
    let mut context = context(1);
    Contest::new(move |n| {
        let mut copy = context.clone();
        let other = move |more: &dyn Fn() -> bool| {
            copy.run(|| {
                while more() {
                    time(AT_A_TIME, || black_box(&ID).get());
                }
            });
        };
        beside(other, || context.run(|| time(n, || black_box(&ID).get())))
    })
    .peer("self_1", ours(1))
    .peer("thread_local", |n| {
        let other = |more: &dyn Fn() -> bool| {
            while more() {
                thread_local(AT_A_TIME);
            }
        };
        beside(other, || thread_local(n))
    })
}

fn with_u64() -> Contest {
    let mut context = context(1);
    Contest::new(move |n| context.run(|| time(n, || black_box(&ID).with(|value| value.copied()))))
        .peer("tokio_task_local", |n| {
            TASK_LOCAL.sync_scope(VALUE, || {
                time(n, || black_box(&TASK_LOCAL).with(|value| *value))
            })
        })
        .peer("tokio_inherit", |n| {
            with_inheritable(1, || time(n, || black_box(&INHERITED).with(|value| *value)))
        })
        .peer("opentelemetry", |n| {
            let _outer = otel(1).attach();
            time(n, || {
                OtelContext::map_current(|context| context.get::<Value<0>>().map(|value| value.0))
            })
        })
        .peer("thread_local", |n| {
            time(n, || black_box(&LAZY).with(Cell::get))
        })
        .peer("floor", floor)
}
