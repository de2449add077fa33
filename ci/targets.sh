#!/usr/bin/env bash
# Checks that the library compiles for the targets that the README names, with and without the feature `tokio`, and for
# browsers with the feature `wasm`. Their standard library is compiled from the sources that come with Debian's compiler,
# because the toolchains here have that of the host only. Says so and succeeds where these cannot be had.
# Usage: ci/targets.sh [TARGET...]
set -euo pipefail

skip() {
    echo "skipped: $1"
    exit 0
}

[ $# -gt 0 ] || set -- wasm32-unknown-unknown wasm32-wasip1 aarch64-apple-darwin armv7-linux-androideabi \
    powerpc-unknown-linux-gnu x86_64-pc-windows-gnu

rustc +nightly --version >/dev/null 2>&1 || skip "no nightly toolchain"
source ci/debian.sh
use_debian_rustc || skip "no Debian packages of a compiler with the sources of std"

# Import libraries of Windows are made by this program, also for a check.
has_dlltool() {
    command -v x86_64-w64-mingw32-dlltool >/dev/null && return
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return
    apt-get install -qq -y --no-install-recommends binutils-mingw-w64-x86-64 >/dev/null
}

# Checks several at once: the standard library of one has to be compiled crate after crate.
check() {
    local features=$1 target options=()
    shift
    for target; do
        options+=(--target "$target")
    done
    [ $# -gt 0 ] || return 0
    echo "+ check, features: ${features:-none}, $*"
    cargo +nightly check --quiet -p aiocontextvars --lib -Zbuild-std=std,panic_abort --features "$features" "${options[@]}"
}

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/targets
# Apart, since all targets of one command have the same features of dependencies: tokio refuses threads for wasm.
wasm=() others=()
for target; do
    if [[ $target = wasm* ]]; then
        wasm+=("$target")
    elif [[ $target = *-windows-gnu ]] && ! has_dlltool; then
        echo "skipped: $target, no dlltool (Debian's binutils-mingw-w64-x86-64)"
    else
        others+=("$target")
    fi
done
for features in "" tokio; do
    check "$features" "${wasm[@]}"
    check "$features" "${others[@]}"
done
if [[ " ${wasm[*]} " = *" wasm32-unknown-unknown "* ]]; then
    check wasm wasm32-unknown-unknown
    check wasm,tokio wasm32-unknown-unknown
fi
