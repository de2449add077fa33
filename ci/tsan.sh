#!/usr/bin/env bash
# The test suite under ThreadSanitizer, with a standard library that is compiled for it: without, each `Arc` that std
# hands from thread to thread looks like a race. The sources of std come from Debian's packages of the compiler, and
# the sanitizer's runtime from the nightly toolchain. Says so and succeeds where they cannot be had.
# Usage: ci/tsan.sh [ARGUMENTS OF cargo test]
set -euo pipefail

skip() {
    echo "skipped: $1"
    exit 0
}

llvm_of() {
    "$@" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p'
}

rustc +nightly --version >/dev/null 2>&1 || skip "no nightly toolchain"
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
# A million timers take minutes here, and show nothing that a few do not.
[ $# -gt 0 ] || set -- --lib --tests -- --skip a_million

source ci/debian.sh
use_debian_rustc || skip "no Debian packages of a compiler with the sources of std"

runtime=$(rustc +nightly --print sysroot)/lib/rustlib/$host/lib/librustc-nightly_rt.tsan.a
[ -f "$runtime" ] || skip "the nightly toolchain has no runtime of the sanitizer"
ln -sf "$runtime" "$debian_root/usr/lib/rustlib/$host/lib/librustc-stable_rt.tsan.a"
ours=$(llvm_of rustc +nightly)
theirs=$(llvm_of "$RUSTC")
[ "$ours" = "$theirs" ] || skip "the runtime is for LLVM $ours, the sources of std for LLVM $theirs"

# A backtrace costs a panicking test seconds here.
export CARGO_TARGET_DIR=$PWD/target/tsan RUSTFLAGS=-Zsanitizer=thread RUST_BACKTRACE=0
# A forked child starts a thread (`tests/global_subscriber.rs`), which would end it.
export TSAN_OPTIONS="suppressions=$PWD/ci/tsan.supp die_after_fork=0"
cargo +nightly test --quiet --no-fail-fast -Zbuild-std --target "$host" --all-features "$@"
