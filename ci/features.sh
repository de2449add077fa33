#!/usr/bin/env bash
# Builds every subset of the runtimes' features, with none and with all of the others, and tests what each feature does
# alone, beside no other and beside all. Tests are compiled with the feature `conformance`, whose rows are most of them.
set -euo pipefail

runtimes=(tokio async-std smol)
others=(async-channel rayon hyper tower ctrl-c)
all=$(IFS=,; echo "${others[*]}")

for ((subset = 0; subset < 1 << ${#runtimes[@]}; subset++)); do
    list=""
    for ((i = 0; i < ${#runtimes[@]}; i++)); do
        if ((subset >> i & 1)); then
            list+="${list:+,}${runtimes[i]}"
        fi
    done
    for features in "$list" "${list:+$list,}$all"; do
        echo "+ check, features: ${features:-none}"
        # The library by itself: the features of development dependencies would hide one that is missing.
        cargo check --quiet --lib --features "$features"
        cargo check --quiet --tests --features "conformance,$features"
    done
done

# All together are what the README's command tests.
for features in "" "${runtimes[@]}" "${others[@]}"; do
    echo "+ test, features: ${features:-none}"
    cargo check --quiet --lib --features "$features"
    output=$(cargo test --quiet --lib --tests --features "conformance,$features" 2>&1) || {
        echo "$output"
        exit 1
    }
    awk '/^test result: ok/ { passed += $4 } END { print "  " passed " passed" }' <<<"$output"
done
