//! Nothing by itself: the recipes are the tests in `tests/`, a file for each crate that they are for.
