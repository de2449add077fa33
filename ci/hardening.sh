#!/usr/bin/env bash
# The test suite as a release build that checks what unsafe code promises (std's preconditions, in dependencies too),
# with the fields of structures laid out at random. (Without optimisation, both are checked under AddressSanitizer.)
# Usage: ci/hardening.sh [ARGUMENTS OF cargo test]
set -euo pipefail

rustc +nightly --version >/dev/null 2>&1 || { echo "skipped: no nightly toolchain"; exit 0; }
[ $# -gt 0 ] || set -- --lib --tests

# One level of optimisation: the suite is large, and more of it would be most of the time.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=1
export CARGO_TARGET_DIR=$PWD/target/hardening RUST_BACKTRACE=0
export RUSTFLAGS="-Zub-checks=yes -Zrandomize-layout"
cargo +nightly test --quiet --no-fail-fast --release --all-features "$@"
