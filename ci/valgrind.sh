#!/usr/bin/env bash
# Tests under valgrind's memcheck, single-threaded: reads, tasks, wakers and handles, and the ends of threads; with `all`,
# the suite as well on one executor of each kind. (Every executor would take ten minutes, and has its turn under
# AddressSanitizer.)
# Usage: ci/valgrind.sh [all | ARGUMENTS OF cargo test]
set -euo pipefail

command -v valgrind >/dev/null || { echo "skipped: no valgrind"; exit 0; }
host=$(rustc -vV | sed -n 's/^host: //p')

# What std keeps for the process counts as "possibly lost", and is no error.
memcheck="valgrind -q --error-exitcode=1 --leak-check=full --show-leak-kinds=definite,indirect"
memcheck+=" --errors-for-leak-kinds=definite,indirect --fair-sched=yes"
name=${host//-/_}
export "CARGO_TARGET_${name^^}_RUNNER=$memcheck" RUST_BACKTRACE=0
run() {
    cargo test --quiet --no-fail-fast --all-features "$@" --test-threads=1
}
if [ $# -gt 0 ] && [ "$1" != all ]; then
    run "$@" --
    exit
fi
run --test join --test thread_exit --test reads --
if [ "${1-}" = all ]; then
    run --test conformance -- plain_thread:: event_loop:: tokio_multi_thread:: smol_executor::
fi
