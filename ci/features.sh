#!/usr/bin/env bash
# Builds every subset of the runtimes' features, with none and with all of the others, and tests what each feature does
# alone, beside no other and beside all. With the feature `conformance` come the rows for every executor.
set -euo pipefail

runtimes=(tokio async-std smol)
others=(async-channel futures-executor rayon hyper tower ctrl-c)
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
    done
    cargo check --quiet --tests --features "conformance,$features"
done

# All together are what the README's command tests. Those that bring no executor make no difference to the rows.
rows() {
    [[ " ${runtimes[*]} futures-executor rayon " == *" $1 "* ]] && echo "conformance,$1" || echo "$1"
}
for features in conformance $(for one in "${runtimes[@]}" "${others[@]}"; do rows "$one"; done); do
    echo "+ test, features: $features"
    cargo check --quiet --lib --features "${features#conformance,}"
    output=$(cargo test --quiet --lib --tests --features "$features" 2>&1) || {
        echo "$output"
        exit 1
    }
    awk '/^test result: ok/ { passed += $4 } END { print "  " passed " passed" }' <<<"$output"
done
