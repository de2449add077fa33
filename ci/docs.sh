#!/usr/bin/env bash
# The documentation builds without warnings, with all features and with none.
set -euo pipefail

export RUSTDOCFLAGS="-D warnings"
cargo doc --quiet --no-deps --all-features
# Without the features, links to what they gate have no target.
RUSTDOCFLAGS="-D warnings -A rustdoc::broken-intra-doc-links" cargo doc --quiet --no-deps
