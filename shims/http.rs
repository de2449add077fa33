//! The headers of HTTP messages, as baggage is written to and read from them.

use ::http::{HeaderMap, HeaderName, HeaderValue};

use crate::propagation::{Extractor, Injector};

impl Injector for HeaderMap {
    fn set(&mut self, name: &'static str, value: String) {
        // What a propagator writes is a header, and the map is not full of others.
        let Ok(value) = HeaderValue::try_from(value) else {
            return;
        };
        let _replaced = self.try_insert(HeaderName::from_static(name), value);
    }
}

impl Extractor for HeaderMap {
    fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        HeaderMap::get_all(self, name)
            .iter()
            .map(HeaderValue::as_bytes)
    }
}
