#!/usr/bin/env bash
# What takes longer than a change should wait for: the checks that `.ci/run` makes with a part of the tests, with all of them
# (but for ci/hardening.sh); each row of the benchmark; and more of what is random. More than three hours on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 REQUIRE_PYTHON=1

# Each has a compiled form of everything, which is of no use to the next.
with_own_target() {
    bash "ci/$1.sh" "${@:2}"
    rm -rf "target/$1"
}

bash ci/lint.sh all
bash ci/features.sh all
with_own_target asan
with_own_target tsan
bash ci/valgrind.sh all
with_own_target fuzz 600
AIOCONTEXTVARS_SECONDS=10 cargo test --quiet --all-features --test signals --test single_step
AIOCONTEXTVARS_SECONDS=10 cargo test --quiet --release -p aiocontextvars --test signals --test single_step
cargo run --quiet --release -p soak -- --seconds 60
# Each row of the benchmark, once.
cargo bench --quiet -p peers -- --test >/dev/null
# A file of each part; the whole takes a day.
bash ci/mutants.sh core -f src/id.rs
bash ci/mutants.sh shims -f src/shim/outcome.rs
