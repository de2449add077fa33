#!/usr/bin/env bash
# Changes the library in one place at a time, and reports the changes that no test notices. Those which nothing can
# notice are listed in .cargo/mutants.toml, with the reason. Takes hours for everything; each change costs an
# incremental build of tests, and there are two rounds: most changes are noticed by tests that compile and run in no
# time, and only those that are left meet the long ones. The core is tried without a runtime, the rest with all of
# them. The tool takes a minute to install.
# Usage: ci/mutants.sh core|shims [ARGUMENTS OF cargo mutants], for instance: core -f src/var.rs; shims --shard 0/8;
# shims -f 'src/../shims/tokio.rs', as the tool calls it; core --in-diff FILE. Or ci/mutants.sh one, which tries one change
# with the library's own tests, so that this script keeps working.
# The outcome is in target/mutants/mutants.out.
set -euo pipefail

part=${1:?core, shims or one}
shift
[ "$part" != one ] || set -- -f src/bindings.rs -F 'replace Bindings::len -> usize with 0'
case $part in
    core | one)
        select=(--file 'src/*.rs' --file 'src/{bridge,channel,companion,current,fields,propagation,shared,sync,with_context}/**')
        select+=(--exclude src/shim.rs --exclude src/sync/model.rs)
        features=rayon,async-channel,tracing,tracing-subscriber,log
        ;;
    shims)
        select=(--file src/shim.rs --file 'src/shim/**' --file 'src/../shims/**') features=all
        ;;
    *) echo "none of core, shims and one: $part"; exit 2 ;;
esac
with=(--features "$features")
[ "$features" != all ] || with=(--all-features)
# Files that are named take the place of the part's.
case " $* " in *" -f "* | *" --file "*) select=() ;; esac

tools=$PWD/target/tools
export PATH=$tools/bin:$PATH
command -v cargo-mutants >/dev/null ||
    cargo install --quiet --debug --locked --root "$tools" cargo-mutants@27.1.0 ||
    { echo "skipped: cargo-mutants cannot be installed"; exit 0; }

# Builds differ by one function. Debug information would be most of each.
export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
unset CARGO_TARGET_DIR

# All tests but those of the compiler's messages and of the documentation's links.
short=(--lib) long=()
names=$(ci/tests.py with "$features")
for name in $names; do
    case $name in
        misuse | guarantees) ;;
        allocations | asyncio | conformance | conformance_accompanied | model | pep567) long+=("--test=$name") ;;
        *) short+=("--test=$name") ;;
    esac
done
[ "$part" != one ] || short=(--lib) long=()

out=target/mutants
# What is built and run for each change.
short=("${short[@]/#/--cargo-arg=}")
long=("${long[@]/#/--cargo-arg=}")

round() {
    # Of the codes, 2 and 3 are for changes that were missed and for tests that did not come to an end.
    cargo mutants --output "$out" --no-shuffle --colors never --no-times \
        "${select[@]}" "${with[@]}" "$@" || [[ $? == [23] ]]
}

lines() {
    local file total=0
    for file; do
        [[ ! -f $out/mutants.out/$file.txt ]] || total=$((total + $(wc -l <"$out/mutants.out/$file.txt")))
    done
    echo "$total"
}

rm -rf "$out"
mkdir -p target
round "${short[@]}" "$@"
if [[ $(lines missed timeout) != 0 ]]; then
    round "${short[@]}" "${long[@]}" --iterate "$@"
fi

missed=$(lines missed)
noticed=$(lines previously_caught caught timeout)
echo "$part: $noticed of $((noticed + missed)) changes that compile are noticed"
[[ $missed == 0 && ($part != one || $noticed != 0) ]]
