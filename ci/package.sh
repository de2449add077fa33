#!/usr/bin/env bash
# What would be published builds from its own archive, without the rest of the repository: with no feature, and with all.
set -euo pipefail

for features in "" --all-features; do
    echo "+ package, ${features:-no features}"
    # shellcheck disable=SC2086
    cargo package --quiet -p aiocontextvars --allow-dirty $features 2> >(grep -v 'is not included in the published package' >&2)
done
