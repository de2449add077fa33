//! What was measured.

/// A cost over a size.
pub(crate) struct Curve {
    pub(crate) name: String,
    /// For comparison: a runtime without this crate.
    pub(crate) is_bare: bool,
    pub(crate) points: Vec<(usize, f64)>,
}

impl Curve {
    pub(crate) fn new(name: impl Into<String>) -> Curve {
        Curve {
            name: name.into(),
            is_bare: false,
            points: Vec::new(),
        }
    }
}

/// Curves over the same sizes.
pub(crate) struct Chart {
    pub(crate) x: &'static str,
    /// With the unit.
    pub(crate) y: &'static str,
    pub(crate) is_log: bool,
    pub(crate) curves: Vec<Curve>,
}

/// Charts in one file.
pub(crate) struct Page {
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    pub(crate) charts: Vec<Chart>,
}
