#!/usr/bin/env bash
# Which lines of src/ and shims/ the tests run: a table of the files, and a failure below 95 % of all lines. With
# MISSING=1 also the lines that no test runs. Needs a minute to install its tool, and Debian's LLVM of the compiler's
# major version. Usage: ci/coverage.sh [ARGUMENTS OF cargo test]
set -euo pipefail

skip() {
    echo "skipped: $1"
    exit 0
}

cache=$PWD/target/coverage
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
bin=/usr/lib/llvm-$llvm/bin
if [ ! -x "$bin/llvm-cov" ]; then
    # Unpacked and not installed, so that it works for everyone.
    bin=$cache/root$bin
    export LD_LIBRARY_PATH=$cache/root/usr/lib/x86_64-linux-gnu:$cache/root/usr/lib/llvm-$llvm/lib
fi
if [ ! -x "$bin/llvm-cov" ]; then
    command -v apt-get >/dev/null || skip "no apt-get to fetch llvm-$llvm with"
    mkdir -p "$cache/deb"
    (
        cd "$cache/deb"
        [ "$(id -u)" -ne 0 ] || apt-get update -qq || true
        apt-get download -qq "llvm-$llvm" "libllvm$llvm" libz3-4 libpfm4
    ) || skip "no Debian packages of LLVM $llvm"
    for package in "$cache"/deb/*.deb; do
        dpkg -x "$package" "$cache/root"
    done
fi
tools=$PWD/target/tools
export PATH=$tools/bin:$PATH
command -v cargo-llvm-cov >/dev/null ||
    cargo install --quiet --locked --root "$tools" cargo-llvm-cov@0.9.1 ||
    skip "cargo-llvm-cov cannot be installed"

export LLVM_COV=$bin/llvm-cov LLVM_PROFDATA=$bin/llvm-profdata
[ $# -gt 0 ] || set -- --lib --tests
cargo llvm-cov --quiet --no-report --all-features "$@"
# The tests themselves are not what is measured.
report() {
    cargo llvm-cov report --ignore-filename-regex '/(tests|examples|benches)/' "$@"
}
report --json --summary-only --output-path "$cache/summary.json"
jq -r '.data[0].files | sort_by(.summary.lines.percent)[] |
    "\(.summary.lines.percent * 10 | floor / 10)\t\(.summary.lines.count - .summary.lines.covered)\t\(.filename)"' \
    "$cache/summary.json" | sed "s|$PWD/||" | awk -F'\t' '{ printf "%5.1f %%  %3d missed  %s\n", $1, $2, $3 }'
[ -z "${MISSING-}" ] || report --show-missing-lines | sed -n '/^Uncovered Lines:/,$p' | sed "s|$PWD/||"
report --summary-only --fail-under-lines 95 >/dev/null || { echo "below 95 % of all lines"; exit 1; }
