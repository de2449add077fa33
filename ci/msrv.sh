#!/usr/bin/env bash
# Checks the library with the oldest compiler it promises to support, from Debian's packages, where that is not
# the compiler at hand. Says so and succeeds where the packages cannot be had.
set -euo pipefail

msrv=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if rustc --version | grep -q "^rustc $msrv\."; then
    cargo check --all-features
    exit
fi

cache=${CARGO_TARGET_DIR:-target}/msrv
root=$cache/root
if [ ! -x "$root/usr/bin/rustc" ]; then
    mkdir -p "$cache/deb" "$root"
    command -v apt-get >/dev/null || { echo "skipped: no apt-get to fetch a $msrv compiler with"; exit 0; }
    (
        cd "$cache/deb"
        [ "$(id -u)" -ne 0 ] || apt-get update -qq || true
        version=$(apt-cache madison rustc-web | awk '{print $3}' | grep "^$msrv\." | head -n 1)
        [ -n "$version" ] &&
            apt-get download -qq "rustc-web=$version" "libstd-rust-web-dev=$version" \
                "libstd-rust-web-$msrv=$version" libllvm19
    ) || { echo "skipped: no Debian package of a $msrv compiler"; exit 0; }
    for package in "$cache"/deb/*.deb; do
        dpkg -x "$package" "$root"
    done
fi

root=$(cd "$root" && pwd)
export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu:$root/usr/lib
RUSTC=$root/usr/bin/rustc CARGO_TARGET_DIR=$cache/target cargo check --all-features
echo "checked with $("$root/usr/bin/rustc" --version)"
