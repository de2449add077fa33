#!/usr/bin/env bash
# Fuzzes the core under AddressSanitizer: bytes are programs, run on the crate and on a model, and the headers of messages.
# Fails with the path of the input. Usage: ci/fuzz.sh [SECONDS], for each of the two; with KEEP=1 the corpus that is
# committed takes in what was new, and is minimised.
set -euo pipefail

seconds=${1:-60}
rustc +nightly --version >/dev/null 2>&1 || { echo "skipped: no nightly toolchain"; exit 0; }
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
target=$PWD/target/fuzz

# What `cargo fuzz` passes.
passes="-sanitizer-coverage-level=4 -sanitizer-coverage-inline-8bit-counters -sanitizer-coverage-pc-table"
passes+=" -sanitizer-coverage-trace-compares"
flags="--cfg fuzzing -Cpasses=sancov-module -Zsanitizer=address -Ccodegen-units=1"
for pass in $passes; do
    flags+=" -Cllvm-args=$pass"
done

(
    cd fuzz
    RUSTFLAGS=$flags cargo +nightly build --quiet --release --target "$host" --target-dir "$target"
)

fuzz() {
    local name=$1 max_len=$2
    local fuzzer=$target/$host/release/$name committed=$PWD/fuzz/corpus/$name work=$target/$name
    mkdir -p "$work/found" "$work/failures"
    # One unhappy input is the result, so there is no need to go on with others.
    if ! "$fuzzer" -max_total_time="$seconds" -max_len="$max_len" -timeout=20 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$work/failures/" "$work/found" "$committed" >"$work/log" 2>&1; then
        tail -n 60 "$work/log"
        echo "failed; to repeat: $fuzzer $(ls -t "$work"/failures/* | head -n 1)"
        exit 1
    fi
    sed -nE "s/^stat::(number_of_executed_units|average_exec_per_sec)/$name: \1/p" "$work/log"

    if [ -n "${KEEP-}" ]; then
        mkdir -p "$work/merged"
        "$fuzzer" -set_cover_merge=1 -use_counters=0 -verbosity=0 "$work/merged" "$committed" "$work/found" 2>/dev/null
        rm -r "$committed"
        mv "$work/merged" "$committed"
    fi
    echo "$name: $(find "$committed" -type f | wc -l) files in the corpus"
}

# Side by side: each takes one core. In groups of their own, so that none goes on when this is ended.
set -m
trap 'for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || true; done' EXIT
fuzz contexts 512 &
contexts=$!
# Beyond the limit of 8192 bytes.
fuzz propagation 10000 &
propagation=$!
status=0
wait "$contexts" || status=$?
wait "$propagation" || status=$?
exit "$status"
