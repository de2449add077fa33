#!/usr/bin/env bash
# The documentation builds without warnings, with all features, with each alone and with none.
set -euo pipefail

export RUSTDOCFLAGS="-D warnings"
cargo doc --quiet --workspace --no-deps --all-features
# Without the features, links to what they gate have no target.
RUSTDOCFLAGS+=" -A rustdoc::broken-intra-doc-links"
for features in "" tokio async-std smol async-channel futures-executor rayon hyper http http-body tower tracing tracing-subscriber log ctrl-c; do
    cargo doc --quiet -p aiocontextvars --no-deps --features "$features"
done
