#!/usr/bin/env bash
# Builds and tests every subset of the features.
set -euo pipefail

features=(tokio async-std smol hyper tower)
count=$((1 << ${#features[@]}))
for ((subset = 0; subset < count; subset++)); do
    list=""
    for ((i = 0; i < ${#features[@]}; i++)); do
        if ((subset >> i & 1)); then
            list+="${list:+,}${features[i]}"
        fi
    done
    echo "+ features: ${list:-none}"
    # The library by itself: the features of development dependencies would hide one that is missing.
    cargo check --quiet --lib --features "$list"
    output=$(cargo test --quiet --lib --tests --features "$list" 2>&1) || {
        echo "$output"
        exit 1
    }
    awk '/^test result: ok/ { passed += $4 } END { print "  " passed " passed" }' <<<"$output"
done
echo "$count feature subsets built and tested"
