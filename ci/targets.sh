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

check() {
    echo "+ check, features: ${1:-none}, ${*:2}"
    cargo +nightly check --quiet -p aiocontextvars --lib -Zbuild-std=std,panic_abort --features "$1" "${@:2}"
}

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/targets
options=()
for target in "$@"; do
    if [[ $target = *-windows-gnu ]] && ! has_dlltool; then
        echo "skipped: $target, no dlltool (Debian's binutils-mingw-w64-x86-64)"
    else
        options+=(--target "$target")
    fi
done
[ ${#options[@]} -gt 0 ] || exit 0
# All at once: the standard library of one has to be compiled crate after crate.
for features in "" tokio; do
    check "$features" "${options[@]}"
done
if [[ " $* " = *" wasm32-unknown-unknown "* ]]; then
    for features in wasm wasm,tokio; do
        check "$features" --target wasm32-unknown-unknown
    done
fi
