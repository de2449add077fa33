//! The names of variables.

use std::sync::Arc;

/// Copied with every value that is set, so a name that is `'static`, as most are, is copied as two
/// words.
#[derive(Clone)]
pub(crate) struct Name {
    fixed: &'static str,
    /// In its place, for a variable that was named at run time.
    made: Option<Arc<Box<str>>>,
}

impl Name {
    pub(crate) const fn fixed(name: &'static str) -> Name {
        Name {
            fixed: name,
            made: None,
        }
    }

    pub(crate) fn made(name: String) -> Name {
        Name {
            fixed: "",
            made: Some(Arc::new(name.into_boxed_str())),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match &self.made {
            Some(made) => made,
            None => self.fixed,
        }
    }
}
