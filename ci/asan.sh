#!/usr/bin/env bash
# The test suite under AddressSanitizer, which brings LeakSanitizer. The library has little unsafe code; its dependencies
# have more, and so have the runtimes that it drives. Debug assertions are on.
# Usage: ci/asan.sh [ARGUMENTS OF cargo test]
set -euo pipefail

rustc +nightly --version >/dev/null 2>&1 || { echo "skipped: no nightly toolchain"; exit 0; }
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
# A million timers take minutes here, and show nothing that a few do not. Rows that fail on purpose leave tasks
# behind, and rayon a pool that a thread has joined.
[ $# -gt 0 ] || set -- --lib --tests -- --skip a_million --skip faulty --skip a_thread_that_becomes_a_worker

# The host is named so that build scripts and macros are compiled without the sanitizer.
export CARGO_TARGET_DIR=$PWD/target/asan RUSTFLAGS=-Zsanitizer=address RUST_BACKTRACE=0
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
cargo +nightly test --quiet --no-fail-fast --target "$host" --all-features "$@"
