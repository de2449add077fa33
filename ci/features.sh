#!/usr/bin/env bash
# Builds every subset of the runtimes' features, with none and with all of the others, and tests what each runtime does alone.
# (ci/lint.sh builds each feature alone.)
# Usage: ci/features.sh [all], which builds the tests with each subset, runs all of them with each runtime alone, and not only
# those of what differs then, and those of each other feature alone.
set -euo pipefail

[ "${1-all}" = all ] || { echo "features.sh: takes all or nothing, not $1"; exit 2; }

runtimes=(tokio async-std smol)
others=(async-channel futures-executor rayon hyper http http-body tower tracing tracing-subscriber log ctrl-c)
all=$(IFS=,; echo "${others[*]}")

# The library by itself: the features of development dependencies would hide one that is missing.
check() {
    echo "+ check, features: ${1:-none}"
    cargo check --quiet -p aiocontextvars --lib --features "$1"
}

for ((subset = 0; subset < 1 << ${#runtimes[@]}; subset++)); do
    list=""
    for ((i = 0; i < ${#runtimes[@]}; i++)); do
        if ((subset >> i & 1)); then
            list+="${list:+,}${runtimes[i]}"
        fi
    done
    for features in "$list" "${list:+$list,}$all"; do
        check "$features"
    done
    if [ "${1-}" = all ]; then
        cargo check --quiet -p aiocontextvars --tests --features "$features"
    fi
done

# With two runtimes there is none that everything goes to.
for features in tokio,async-std tokio,smol async-std,smol; do
    echo "+ test, features: $features"
    cargo test --quiet -p aiocontextvars --test one_runtime --test search --test errors --features "$features"
done

# All together are what the README's command tests. None and tokio, which most programs have, are tested with the examples of
# the documentation too.
alone() {
    local features=$1 output
    shift
    echo "+ test, features: ${features:-none}"
    output=$(cargo test --quiet -p aiocontextvars --features "$features" "$@" 2>&1) || {
        echo "$output"
        exit 1
    }
    awk '/^test result: ok/ { passed += $4 } END { print "  " passed " passed" }' <<<"$output"
}

if [ "${1-}" = all ]; then
    for features in "" "${runtimes[@]}"; do
        alone "$features" --lib --tests
        alone "$features" --doc
    done
    # With the tests that mention it.
    for feature in "${others[@]}"; do
        tests=()
        names=$(ci/tests.py of "$feature")
        for name in $names; do
            tests+=(--test "$name")
        done
        alone "$feature" --lib "${tests[@]}"
    done
else
    # Where work goes, what is said where it goes nowhere, and what others run.
    search=(--lib --test one_runtime --test search --test errors --test in_front)
    alone "" "${search[@]}" --test defaults --test event_loop --test join
    for feature in "${runtimes[@]}"; do
        alone "$feature" "${search[@]}" --test foreign --test "${feature//-/_}"
    done
    for features in "" tokio; do
        alone "$features" --doc
    done
fi
