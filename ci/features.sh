#!/usr/bin/env bash
# Builds every subset of the runtimes' features, with none and with all of the others, and tests what each runtime does alone.
# (ci/lint.sh builds each feature alone.)
# Usage: ci/features.sh [all], which builds the tests with each subset, runs all of them with each runtime alone, and not only
# those that name it, and those of each other feature alone.
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

# All together are what the README's command tests. One alone is tested with the tests that ask for it, and none and tokio,
# which most programs have, with the documentation's examples too.
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

# Tests one feature alone with the tests that mention it, but for those whose names have PATTERN in them.
# Usage: mentioning FEATURE [PATTERN]
mentioning() {
    local names name tests=()
    names=$(ci/tests.py of "$1")
    for name in $names; do
        [[ -n ${2-} && $name == *"$2"* ]] || tests+=(--test "$name")
    done
    alone "$1" --lib "${tests[@]}"
}

if [ "${1-}" = all ]; then
    for features in "" "${runtimes[@]}"; do
        alone "$features" --lib --tests
        alone "$features" --doc
    done
    for feature in "${others[@]}"; do
        mentioning "$feature"
    done
else
    alone "" --lib --test one_runtime --test search --test errors --test defaults --test event_loop --test join
    for feature in "${runtimes[@]}"; do
        # The suite has a target for each executor, and is compiled with all features elsewhere.
        mentioning "$feature" conformance
    done
    for features in "" tokio; do
        alone "$features" --doc
    done
fi
