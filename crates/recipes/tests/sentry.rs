//! sentry: each unit of work has a hub of its own, made of that of its request, and events have the
//! variables.

#[path = "common/requests.rs"]
mod common;

use std::sync::{Arc, LazyLock};

use aiocontextvars::companion::{self, Companion};
use aiocontextvars::{Context, FieldValue, Fields, shim};
use common::REQUEST;
use sentry::test::TestTransport;
use sentry::{ClientOptions, Hub, Level};

struct CurrentHub;

impl Companion for CurrentHub {
    type Value = Arc<Hub>;
    fn capture(&self) -> Option<Arc<Hub>> {
        Some(Arc::new(Hub::new_from_top(Hub::current())))
    }
    fn enter<R>(&self, hub: &Arc<Hub>, f: impl FnOnce() -> R) -> R {
        Hub::run(hub.clone(), f)
    }
    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        Hub::run(Arc::new(Hub::new_from_top(Hub::main())), f)
    }
}

static FIELDS: LazyLock<Fields> = LazyLock::new(|| Fields::new().with("id", &REQUEST));

fn with_fields(scope: &mut sentry::Scope) {
    scope.add_event_processor(|mut event| {
        FIELDS.for_each(|name, value| {
            let text = match value {
                FieldValue::Str(text) => text.to_owned(),
                value => value.to_string(),
            };
            event.tags.insert(name.to_owned(), text);
        });
        Some(event)
    });
}

#[test]
fn the_hub_follows_the_work() {
    companion::register(CurrentHub).unwrap();
    let transport = TestTransport::new();
    let mut options = ClientOptions::default();
    options.dsn = Some("https://public@localhost/1".parse().unwrap());
    options.transport = Some(Arc::new(Arc::clone(&transport)));
    let client = Arc::new(options.into());
    let request = move |number: u64, work: &mut dyn FnMut()| {
        let hub = Arc::new(Hub::new(Some(Arc::clone(&client)), Arc::default()));
        hub.configure_scope(|scope| {
            with_fields(scope);
            scope.set_tag("request", number);
        });
        Hub::run(hub, work);
    };
    common::serve(request, |hop| {
        // A scope of one hop is not seen by the others.
        Hub::current().configure_scope(|scope| scope.set_extra(hop, true.into()));
        sentry::capture_message(hop, Level::Info);
    });
    let mut seen: Vec<_> = transport
        .fetch_and_clear_events()
        .into_iter()
        .map(|event| {
            assert_eq!(event.tags["id"], event.tags["request"]);
            (
                event.message.unwrap(),
                event.tags["request"].parse().unwrap(),
            )
        })
        .collect();
    seen.sort();
    assert_eq!(seen, common::expected());
    assert!(Hub::current().client().is_none());
    work_of_nobody_leaves_the_programs_hub_alone();
}

fn work_of_nobody_leaves_the_programs_hub_alone() {
    let programs = Hub::main();
    let own = Arc::new(Hub::new_from_top(&programs));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    Hub::run(Arc::clone(&own), || {
        runtime.unwrap().block_on(async {
            let nobody = shim::spawn_in(Context::new(), async { Hub::current() });
            let hub = nobody.await.unwrap();
            assert!(!Arc::ptr_eq(&hub, &programs));
            assert!(!Arc::ptr_eq(&hub, &own));
        });
        assert!(Arc::ptr_eq(&own, &Hub::current()));
    });
}
