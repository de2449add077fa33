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
packages() {
    local std llvm
    std=$(apt-cache depends libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p')
    llvm=$(apt-cache depends "$std" | sed -n 's/.*Depends: \(libllvm[0-9]*\)$/\1/p')
    [ -n "$std" ] && [ -n "$llvm" ] && echo "rustc-web libstd-rust-web-dev rust-web-src $std $llvm"
}

cache=$PWD/target/tsan
root=$cache/root
if [ ! -x "$root/usr/bin/rustc" ]; then
    unpack_debian "$root" packages || skip "no Debian packages of a compiler with the sources of std"
fi

runtime=$(rustc +nightly --print sysroot)/lib/rustlib/$host/lib/librustc-nightly_rt.tsan.a
[ -f "$runtime" ] || skip "the nightly toolchain has no runtime of the sanitizer"
ln -sf "$runtime" "$root/usr/lib/rustlib/$host/lib/librustc-stable_rt.tsan.a"
ours=$(llvm_of rustc +nightly)
export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu:$root/usr/lib
theirs=$(llvm_of "$root/usr/bin/rustc")
[ "$ours" = "$theirs" ] || skip "the runtime is for LLVM $ours, the sources of std for LLVM $theirs"

# `RUSTC_BOOTSTRAP`: Debian's compiler is a stable one. A backtrace costs a panicking test seconds here.
export RUSTC=$root/usr/bin/rustc RUSTDOC=$root/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR=$cache/target RUSTFLAGS=-Zsanitizer=thread RUST_BACKTRACE=0
export TSAN_OPTIONS=suppressions=$PWD/ci/tsan.supp
cargo +nightly test --quiet --no-fail-fast -Zbuild-std --target "$host" --all-features "$@"
