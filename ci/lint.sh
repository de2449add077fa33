#!/usr/bin/env bash
# Formatting, and clippy: of everything with all features, with none and with tokio's, and of the library with each alone.
# Usage: ci/lint.sh [all], which has the tests with each alone, too.
set -euo pipefail

[ "${1-all}" = all ] || { echo "lint.sh: takes all or nothing, not $1"; exit 2; }

cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --check
# A macro mounts the adapters, so that `cargo fmt` does not find them.
rustfmt --edition 2024 --check shims/*.rs

lint() {
    echo "+ clippy $*"
    cargo clippy --quiet "$@" -- -D warnings
}
lint -p aiocontextvars --all-targets
lint -p aiocontextvars --all-targets --features tokio
for features in async-std smol async-channel futures-executor rayon hyper http http-body tower tracing tracing-subscriber log ctrl-c; do
    # By itself: the features of development dependencies would hide one that is missing.
    lint -p aiocontextvars --lib --features "$features"
    [ "${1-}" != all ] || lint -p aiocontextvars --all-targets --features "$features"
done
lint --workspace --all-targets --all-features
