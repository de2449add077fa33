//! Other crates joined to this one, each behind a feature of that crate's name.

#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub mod tracing;
