#!/usr/bin/env bash
# Formatting, and clippy for each feature alone, none and all.
set -euo pipefail

cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --check
# A macro mounts the adapters, so that `cargo fmt` does not find them.
rustfmt --edition 2024 --check shims/*.rs
for features in "" tokio async-std smol async-channel futures-executor rayon hyper http http-body tower tracing tracing-subscriber log ctrl-c; do
    echo "+ clippy, features: ${features:-none}"
    cargo clippy --quiet -p aiocontextvars --all-targets --features "$features" -- -D warnings
done
echo "+ clippy, all features"
cargo clippy --quiet --workspace --all-targets --all-features -- -D warnings
