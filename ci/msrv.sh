#!/usr/bin/env bash
# Checks the library with the oldest compiler it promises to support, from Debian's packages, where that is not
# the compiler at hand. Says so and succeeds where the packages cannot be had.
set -euo pipefail

msrv=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if rustc --version | grep -q "^rustc $msrv\."; then
    cargo check -p aiocontextvars -p aiocontextvars-conformance -p aiocontextvars-opentelemetry --all-features
    exit
fi

source ci/debian.sh
packages() {
    local version
    version=$(apt-cache madison rustc-web | awk '{print $3}' | grep "^$msrv\." | head -n 1)
    [ -n "$version" ] &&
        echo "rustc-web=$version libstd-rust-web-dev=$version libstd-rust-web-$msrv=$version libllvm19"
}

cache=${CARGO_TARGET_DIR:-target}/msrv
root=$cache/root
if [ ! -x "$root/usr/bin/rustc" ]; then
    unpack_debian "$root" packages || { echo "skipped: no Debian package of a $msrv compiler"; exit 0; }
fi

root=$(cd "$root" && pwd)
export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu:$root/usr/lib
RUSTC=$root/usr/bin/rustc CARGO_TARGET_DIR=$cache/target cargo check -p aiocontextvars -p aiocontextvars-conformance -p aiocontextvars-opentelemetry --all-features
echo "checked with $("$root/usr/bin/rustc" --version)"
