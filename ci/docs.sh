#!/usr/bin/env bash
# The documentation builds without warnings, with all features, with each alone and with none; its links have targets, and
# the `clippy.toml` that it gives to users finds what it is for.
set -euo pipefail

python3 ci/links.py

export RUSTDOCFLAGS="-D warnings"
# What is only tests has none, and is not built for it.
cargo doc --quiet --workspace --exclude recipes --exclude recipes-python --exclude jobs --no-deps --all-features
# Without the features, links to what they gate have no target.
RUSTDOCFLAGS+=" -A rustdoc::broken-intra-doc-links"
for features in "" tokio async-std smol async-channel futures-executor rayon hyper http http-body tower tracing tracing-subscriber log ctrl-c; do
    cargo doc --quiet -p aiocontextvars --no-deps --features "$features"
done

echo "+ clippy.toml of docs/web-services.md"
spawns=$(mktemp -d)
trap 'rm -rf "$spawns"' EXIT
sed -n '/^disallowed-methods = \[$/,/^\]$/p' docs/web-services.md >"$spawns/clippy.toml"
mkdir "$spawns/src"
cp Cargo.lock "$spawns"
cat >"$spawns/Cargo.toml" <<END
[package]
name = "spawns"
version = "0.0.0"
edition = "2024"

[dependencies]
tokio = { version = "1.49", default-features = false, features = ["rt", "rt-multi-thread"] }

[workspace]
END
cat >"$spawns/src/lib.rs" <<'END'
use tokio::runtime::Runtime;
use tokio::task::{self, JoinSet, LocalSet};

pub async fn spawns(runtime: &Runtime, set: &mut JoinSet<()>, local: &LocalSet) {
    drop(tokio::spawn(async {}));
    drop(task::spawn(async {}));
    drop(task::spawn_blocking(|| ()));
    drop(task::spawn_local(async {}));
    drop(set.spawn(async {}));
    drop(set.spawn_on(async {}, runtime.handle()));
    drop(set.spawn_local(async {}));
    drop(set.spawn_local_on(async {}, local));
    drop(set.spawn_blocking(|| ()));
    drop(set.spawn_blocking_on(|| (), runtime.handle()));
    drop(local.spawn_local(async {}));
    drop(runtime.handle().spawn(async {}));
    drop(runtime.handle().spawn_blocking(|| ()));
    drop(runtime.spawn(async {}));
    drop(runtime.spawn_blocking(|| ()));
    drop(std::thread::spawn(|| ()));
    std::thread::scope(|scope| drop(scope.spawn(|| ())));
    drop(std::thread::Builder::new().spawn(|| ()));
    std::thread::scope(|scope| drop(std::thread::Builder::new().spawn_scoped(scope, || ())));
}
END
found=$(CARGO_TARGET_DIR=$spawns/target CLIPPY_CONF_DIR=$spawns cargo clippy --quiet --manifest-path "$spawns/Cargo.toml" 2>&1)
methods=$(grep -c 'path = ' "$spawns/clippy.toml")
calls=$(grep -c 'use of a disallowed method' <<<"$found")
[ "$calls" -eq "$methods" ] || { echo "$found"; echo "$calls of $methods methods found"; exit 1; }
echo "$calls forgotten spawns found"
