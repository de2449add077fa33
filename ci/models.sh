#!/usr/bin/env bash
# Runs the models of the protocols between threads: loom tries the orders in which threads may go.
set -euo pipefail
cd "$(dirname "$0")/../models"

cargo fmt --check
cargo clippy --quiet --all-targets -- -D warnings
cargo test --tests --no-fail-fast
rm -rf target
