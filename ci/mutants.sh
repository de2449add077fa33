#!/usr/bin/env bash
# Changes the library in one place at a time, and reports the changes that no test notices. Those which nothing can
# notice are listed in .cargo/mutants.toml, with the reason. Takes hours for everything; each change of the core costs
# an incremental build of the tests without a runtime, each one of the rest that of all tests. The tool takes two
# minutes to install.
# Usage: ci/mutants.sh core|shims [ARGUMENTS OF cargo mutants], for instance: core -f src/var.rs; shims --shard 0/8;
# core --in-diff FILE. The outcome is in target/mutants/mutants.out.
set -euo pipefail

part=${1:?core or shims}
shift
case $part in
    core) select=(--file 'src/*.rs' --exclude src/shim.rs) features=() ;;
    shims) select=(--file src/shim.rs --file 'src/shim/**' --file 'shims/*.rs') features=(--all-features) ;;
    *) echo "neither core nor shims: $part"; exit 2 ;;
esac
# Files that are named take the place of the part's.
case " $* " in *" -f "* | *" --file "*) select=() ;; esac

tools=$PWD/target/tools
export PATH=$tools/bin:$PATH
command -v cargo-mutants >/dev/null ||
    cargo install --quiet --locked --root "$tools" cargo-mutants@27.1.0 ||
    { echo "skipped: cargo-mutants cannot be installed"; exit 0; }

# Builds differ by one function. Debug information would be most of each.
export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
unset CARGO_TARGET_DIR
cargo mutants --output target/mutants --no-shuffle --colors never --no-times \
    "${select[@]}" "${features[@]}" "$@" -- --lib --tests
