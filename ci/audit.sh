#!/usr/bin/env bash
# What users of the library get with it: under licences from a list, each crate in one version but for known exceptions,
# and everything from the package registry. Development dependencies are not theirs.
set -euo pipefail
# Versions of one crate are to be neighbours.
export LC_ALL=C

# Whole expressions, so that one which is new is looked at. (`Unicode-3.0` is for tables in `unicode-ident`.)
licences='MIT
MIT OR Apache-2.0
Apache-2.0 OR MIT
MIT/Apache-2.0
Unlicense OR MIT
Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT
Zlib OR Apache-2.0 OR MIT
MIT OR Apache-2.0 OR Zlib
(MIT OR Apache-2.0) AND Unicode-3.0'

# async-std's channel is of the major version before.
duplicates='async-channel
event-listener'

failed=0
fail() {
    echo "$1"
    failed=1
}

tree() {
    cargo tree --locked -p aiocontextvars --all-features --target all --edges normal,build --prefix none "$@" | grep . | sed 's/ (\*)$//' | sort -u
}

while IFS=$'\t' read -r crate licence; do
    grep -qxF "$licence" <<<"$licences" || fail "licence of $crate: ${licence:-none}"
done < <(tree --format $'{p}\t{l}')

twice=$(tree --format '{p}' | cut -d' ' -f1 | uniq -d)
while read -r crate; do
    [ -z "$crate" ] || fail "in several versions: $crate"
done < <(comm -13 <(sort <<<"$duplicates") <(sort <<<"$twice"))
# An exception that is not needed any more would hide the next one.
while read -r crate; do
    [ -z "$crate" ] || fail "no longer in several versions: $crate"
done < <(comm -23 <(sort <<<"$duplicates") <(sort <<<"$twice"))

sources=$(sed -n 's/^source = "\(.*\)"/\1/p' Cargo.lock | sort -u)
[[ $sources == registry+* && $(wc -l <<<"$sources") -eq 1 ]] || fail "sources in Cargo.lock: $sources"

[ "$failed" -eq 0 ] && echo "$(tree --format '{p}' | wc -l) crates audited"
