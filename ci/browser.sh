#!/usr/bin/env bash
# The tests of the feature `wasm`, in Node and in headless Chromium. Installs what it needs where it can, and says so and succeeds where that cannot be had.
set -euo pipefail

skip() {
    echo "skipped: $1"
    exit 0
}

rustc +nightly --version >/dev/null 2>&1 || skip "no nightly toolchain"
command -v node >/dev/null || skip "no Node"
target=${CARGO_TARGET_DIR:-$PWD/target}
tools=$target/browser-tools
version=$(sed -n '/^name = "wasm-bindgen"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
# The program has to be of the version of the library.
if ! "$tools/bin/wasm-bindgen" --version 2>/dev/null | grep -qF " $version"; then
    install() {
        CARGO_TARGET_DIR=$target/browser-tools-build cargo install --quiet --debug --root "$tools" \
            --no-default-features --bin wasm-bindgen wasm-bindgen-cli --version "$version" "$@"
    }
    # A registry may be without one of the versions that its lock file names.
    install --locked || install || skip "no wasm-bindgen $version"
    rm -rf "$target/browser-tools-build"
fi
linker=$(rustc +nightly --print sysroot)/lib/rustlib/$(rustc +nightly -vV | sed -n 's/^host: //p')/bin/rust-lld
source ci/debian.sh
use_debian_rustc || skip "no Debian packages of a compiler with the sources of std"

build=$target/browser
RUSTFLAGS=-Clinker=$linker CARGO_TARGET_DIR=$build cargo +nightly build --quiet -p browser \
    --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort
"$tools/bin/wasm-bindgen" --target web --out-dir "$build/js" "$build/wasm32-unknown-unknown/debug/browser.wasm"
echo '{"type": "module"}' >"$build/js/package.json"
echo "+ test in Node $(node --version)"
node crates/browser/run.mjs "$build/js"

find_chromium() {
    command -v chromium-headless-shell || command -v chromium
}
if ! find_chromium >/dev/null && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    apt-get install -qq -y --no-install-recommends chromium-headless-shell >/dev/null || true
fi
chromium=$(find_chromium) || skip "the tests in a browser, no Chromium"
echo "+ test in $("$chromium" --version 2>/dev/null)"
node crates/browser/run.mjs "$build/js" browser "$chromium"
