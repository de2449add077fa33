#!/usr/bin/env bash
# Which lines of src/ and shims/ the tests run: a table of the files, and a failure below 95 % of all lines. With
# MISSING=1 also the lines that no test runs. Needs the LLVM of the compiler's
# major version, from Debian's packages.
# Usage: ci/coverage.sh [ARGUMENTS OF cargo test]
set -euo pipefail

skip() {
    echo "skipped: $1"
    exit 0
}

command -v jq >/dev/null || skip "no jq"
source ci/debian.sh
packages() {
    echo "llvm-$llvm libllvm$llvm libz3-4 libpfm4"
}

least=95
cache=$PWD/target/coverage
mkdir -p "$cache"
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
bin=/usr/lib/llvm-$llvm/bin
libraries=
if [ ! -x "$bin/llvm-cov" ]; then
    # Unpacked and not installed, so that it works for everyone.
    bin=$cache/root$bin
    libraries=$cache/root/usr/lib/x86_64-linux-gnu
fi
if [ ! -x "$bin/llvm-cov" ]; then
    unpack_debian "$cache/root" packages || skip "no Debian packages of LLVM $llvm"
fi
llvm() {
    LD_LIBRARY_PATH=$libraries "$bin/llvm-$1" "${@:2}"
}

# Only this package is instrumented; its dependencies are those of every other build.
printf '#!/bin/sh\nexec "$@" -Cinstrument-coverage\n' >"$cache/rustc"
chmod +x "$cache/rustc"
export RUSTC_WORKSPACE_WRAPPER=$cache/rustc
rm -rf "$cache/profiles"
export LLVM_PROFILE_FILE=$cache/profiles/%p-%m.profraw
[ $# -gt 0 ] || set -- --lib --tests

# Two steps, to know the programs' names.
cargo test --quiet --all-features "$@" --no-run --message-format=json-render-diagnostics |
    jq -r 'select(.profile.test == true) | .executable | values' >"$cache/programs"
cargo test --quiet --all-features "$@" >"$cache/log" 2>&1 || { tail -n 50 "$cache/log"; exit 1; }
llvm profdata merge -sparse "$cache"/profiles/*.profraw -o "$cache/all.profdata"
rm -r "$cache/profiles"

mapfile -t objects < <(sed '2,$s/^/--object=/' "$cache/programs")
of=(--instr-profile="$cache/all.profdata" --ignore-filename-regex="^($PWD/tests/|$PWD/crates/|/rustc/|.*/registry/)" "${objects[@]}")
llvm cov export --summary-only "${of[@]}" >"$cache/summary.json"
jq -r --arg at "$PWD/" '.data[0].files | sort_by(.summary.lines.percent)[] | .summary.lines as $lines |
    [$lines.percent, $lines.count - $lines.covered, (.filename | ltrimstr($at) | ltrimstr("src/../"))] | @tsv' "$cache/summary.json" |
    awk -F'\t' '{ printf "%6.1f %%  %4d missed  %s\n", $1, $2, $3 }'
if [ -n "${MISSING-}" ]; then
    llvm cov show "${of[@]}" | grep -E '^/|^ +[0-9]+\| +0\|' || true
fi
jq -r --argjson least "$least" '.data[0].totals.lines.percent | "\(. * 10 | floor / 10) % of all lines",
    if . < $least then "below \($least) %\n" | halt_error else empty end' "$cache/summary.json"
