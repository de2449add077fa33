//! The names of variables.

use std::sync::Arc;

/// Copied with every value that is set, so a name that is `'static`, as most are, is copied as two
/// words.
#[derive(Clone)]
pub(crate) enum Name {
    Fixed(&'static str),
    /// That of a variable which was named at run time.
    Made(Arc<Box<str>>),
}

impl Name {
    pub(crate) const fn fixed(name: &'static str) -> Name {
        Name::Fixed(name)
    }

    pub(crate) fn made(name: String) -> Name {
        Name::Made(Arc::new(name.into_boxed_str()))
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Name::Fixed(name) => name,
            Name::Made(name) => name,
        }
    }
}
