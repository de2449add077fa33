#!/usr/bin/env bash
# Builds and tests every subset of the runtimes' features, with none and with all of the others, and each of the others
# alone.
set -euo pipefail

runtimes=(tokio async-std smol)
others=(hyper tower ctrl-c)
lists=()
for ((subset = 0; subset < 1 << ${#runtimes[@]}; subset++)); do
    list=""
    for ((i = 0; i < ${#runtimes[@]}; i++)); do
        if ((subset >> i & 1)); then
            list+="${list:+,}${runtimes[i]}"
        fi
    done
    lists+=("$list" "${list:+$list,}$(IFS=,; echo "${others[*]}")")
done
lists+=("${others[@]}")

for list in "${lists[@]}"; do
    echo "+ features: ${list:-none}"
    # The library by itself: the features of development dependencies would hide one that is missing.
    cargo check --quiet --lib --features "$list"
    output=$(cargo test --quiet --lib --tests --features "$list" 2>&1) || {
        echo "$output"
        exit 1
    }
    awk '/^test result: ok/ { passed += $4 } END { print "  " passed " passed" }' <<<"$output"
done
echo "${#lists[@]} feature subsets built and tested"
