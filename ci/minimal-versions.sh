#!/usr/bin/env bash
# The lowest versions that Cargo.toml allows for direct dependencies suffice, for the library and for its tests. In a
# copy, so that Cargo.lock stays as it is.
set -euo pipefail

rustc +nightly --version >/dev/null 2>&1 || { echo "skipped: no nightly toolchain"; exit 0; }

copy=$PWD/target/minimal-versions/copy
export CARGO_TARGET_DIR=$PWD/target/minimal-versions/target
rm -rf "$copy"
mkdir -p "$copy"
cp -r Cargo.toml README.md docs src shims tests examples benches crates "$copy"
cd "$copy"
# These are over the newest versions of other crates. A test of the library reads the source of one of the jobs' tests.
rm -r crates/recipes* examples/jobs/Cargo.toml
sed -i 's|, "examples/jobs"||' Cargo.toml
cargo +nightly update --quiet -Z direct-minimal-versions
# The library alone first: the features of development dependencies would hide one that is missing.
cargo check --quiet -p aiocontextvars --all-features
cargo check --quiet --all-features --all-targets
