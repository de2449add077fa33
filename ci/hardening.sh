#!/usr/bin/env bash
# Tests as a release build that checks what unsafe code promises (std's preconditions, in dependencies too),
# with the fields of structures laid out at random: nothing may rely on an order that the compiler does not promise.
# (rustix does, up to 1.1.6 at least: its `Itimerspec` goes to the kernel as it is, so that no timer of async-io fires. So what
# sleeps on smol or async-std cannot be run here.)
# Usage: ci/hardening.sh [TEST...]
set -euo pipefail

rustc +nightly --version >/dev/null 2>&1 || { echo "skipped: no nightly toolchain"; exit 0; }
[ $# -gt 0 ] || set -- reads join thread_exit event_loop rayon signals

# One level of optimisation: the suite is large, and more of it would be most of the time.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=1
export CARGO_TARGET_DIR=$PWD/target/hardening RUST_BACKTRACE=0
export RUSTFLAGS="-Zub-checks=yes -Zrandomize-layout"
cargo +nightly test --quiet --no-fail-fast --release --all-features "${@/#/--test=}"
