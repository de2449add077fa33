#!/usr/bin/env bash
# Tests under valgrind's memcheck, single-threaded: the tasks, wakers and handles of every executor, and the ends of
# threads. Usage: ci/valgrind.sh [ARGUMENTS OF cargo test]
set -euo pipefail

command -v valgrind >/dev/null || { echo "skipped: no valgrind"; exit 0; }
host=$(rustc -vV | sed -n 's/^host: //p')
[ $# -gt 0 ] || set -- --test conformance --test join --test thread_exit

# What std keeps for the process counts as "possibly lost", and is no error.
memcheck="valgrind -q --error-exitcode=1 --leak-check=full --show-leak-kinds=definite,indirect"
memcheck+=" --errors-for-leak-kinds=definite,indirect --fair-sched=yes"
name=${host//-/_}
export "CARGO_TARGET_${name^^}_RUNNER=$memcheck" RUST_BACKTRACE=0
cargo test --quiet --no-fail-fast --all-features "$@" -- --test-threads=1
