//! The requests of a run, and what is expected of their jobs.

use std::iter;

/// How many jobs a periodic one is.
pub(crate) const TICKS: u64 = 3;

/// The tenants, as they stand in a path and as what they are.
const TENANTS: [(&str, &str); 4] = [
    ("acme", "acme"),
    ("globex", "globex"),
    ("initech", "initech"),
    ("K%C3%A4se%20%26%20Co%3D100%25", "Käse & Co=100%"),
];
/// So that it is no number of a job.
const FIRST_REQUEST_ID: u64 = 1_000_000;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Request {
    Now,
    Delayed,
    Periodic,
    Poisoned,
    Stuck,
}

impl Request {
    const ALL: [(&str, Request); 5] = [
        ("now", Request::Now),
        ("delayed", Request::Delayed),
        ("periodic", Request::Periodic),
        ("poisoned", Request::Poisoned),
        ("stuck", Request::Stuck),
    ];

    pub(crate) fn named(name: &str) -> Option<Request> {
        let named = Request::ALL.into_iter().find(|(of, _)| *of == name);
        named.map(|(_, request)| request)
    }

    fn name(self) -> &'static str {
        let mut all = Request::ALL.into_iter();
        all.find(|(_, request)| *request == self)
            .map_or("", |(name, _)| name)
    }
}

/// A request of a run.
pub(crate) struct Planned {
    pub(crate) path: String,
    /// Whether it comes with a header that claims to be somebody else's.
    pub(crate) forged: bool,
    /// The jobs that it enqueues.
    pub(crate) jobs: Vec<(u64, Expected)>,
}

/// What each look of a job's should see.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) tenant: Option<String>,
    pub(crate) request_id: Option<u64>,
    pub(crate) problems: usize,
}

/// The requests of a run with at least this many jobs.
pub(crate) fn plan(jobs: u64, stuck: bool) -> Vec<Planned> {
    let mut number = 0;
    let mut stuck = stuck;
    let requests = iter::from_fn(|| {
        let request = match number % 11 {
            _ if number >= jobs => return None,
            3 => Request::Delayed,
            6 => Request::Periodic,
            9 => Request::Poisoned,
            _ if stuck && number >= jobs / 2 => {
                stuck = false;
                Request::Stuck
            }
            _ => Request::Now,
        };
        let planned = planned(request, number);
        number += planned.jobs.len() as u64;
        Some(planned)
    });
    requests.collect()
}

fn planned(request: Request, number: u64) -> Planned {
    let (in_path, tenant) = TENANTS[number as usize % TENANTS.len()];
    let request_id = FIRST_REQUEST_ID + number;
    let expected = match request {
        Request::Poisoned => poison(number, tenant).expected,
        _ => Expected {
            tenant: Some(tenant.to_owned()),
            request_id: Some(request_id),
            problems: 0,
        },
    };
    let count = match request {
        Request::Periodic => TICKS,
        _ => 1,
    };
    Planned {
        path: format!("/{}/{in_path}/{request_id}/{number}", request.name()),
        forged: number.is_multiple_of(3),
        jobs: (number..number + count)
            .map(|number| (number, expected.clone()))
            .collect(),
    }
}

/// A header with something wrong, and what should be left of it.
pub(crate) struct Poison {
    pub(crate) header: String,
    pub(crate) expected: Expected,
}

pub(crate) fn poison(number: u64, tenant: &str) -> Poison {
    let in_header = TENANTS.into_iter().find(|(_, of)| *of == tenant);
    let in_header = in_header.map_or("", |(encoded, _)| encoded);
    let request_id = FIRST_REQUEST_ID + number;
    let tenant = Some(tenant.to_owned());
    let (header, tenant, request_id) = match number % 4 {
        0 => (format!("tenant={in_header},request-id=x7"), tenant, None),
        1 => (
            format!("no member,request-id={request_id},tenant={in_header}"),
            tenant,
            Some(request_id),
        ),
        2 => (
            format!("request-id={request_id},tenant={}", "x".repeat(40)),
            None,
            Some(request_id),
        ),
        _ => (
            format!("tenant=%FF,request-id={request_id}"),
            None,
            Some(request_id),
        ),
    };
    Poison {
        header,
        expected: Expected {
            tenant,
            request_id,
            problems: 1,
        },
    }
}
