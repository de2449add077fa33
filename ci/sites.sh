#!/usr/bin/env bash
# What the crate costs whoever compiles with it: a program with 200 places that spawn, each a future of its own type, by
# `shim::spawn` and by `tokio::spawn`, with the feature `tokio` alone and with all three runtimes; and one with 20 places
# whose outputs are of 20 types. Shows the user time that compiling a program takes (release, dependencies built before),
# the size of its .text, the crates that a hello world on tokio's `rt` is built of and the proc macros among them. Fails
# beyond the limits. (The target of the first time is 1.2; user times on a busy machine differ by up to 5 %.)
# Usage: ci/sites.sh [number of places]
set -euo pipefail

sites=${1-200}
root=$(cd "$(dirname "$0")/.." && pwd)
command -v size >/dev/null || { echo "skipped: no size, of the GNU binutils"; exit 0; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR=$work/target CARGO_INCREMENTAL=0
unset RUSTFLAGS

# A package that depends on the crate, with its versions of all others.
package() {
    mkdir -p "$work/$1/src"
    cat >"$work/$1/Cargo.toml" <<END
[package]
name = "$1"
version = "0.0.0"
edition = "2024"

[features]
three = ["aiocontextvars/async-std", "aiocontextvars/smol"]

[dependencies]
aiocontextvars = { path = "$root", features = ["tokio"] }
tokio = { version = "1.49", default-features = false, features = ["rt"] }

[workspace]
END
    cp "$root/Cargo.lock" "$work/$1"
    # For the dependencies alone.
    : >"$work/$1/src/lib.rs"
}

# A program that spawns by $1, which gives handles of the type $2, at $3 places, with $4 types of outputs.
program() {
    local spawn=$1 handle=$2 sites=$3 outputs=$4 site
    echo "struct Output<const TYPE: usize>(u64);"
    for ((site = 0; site < sites; site++)); do
        cat <<END
fn site_$site(input: u64) -> $handle<Output<$((site % outputs))>> {
    $spawn(async move {
        let mut rows = vec![input; $((site % 7 + 3))];
        let name = format!("site $site: {input}");
        for step in 0..3 {
            tokio::task::yield_now().await;
            rows.push(step + $site);
        }
        tokio::task::yield_now().await;
        Output(rows.iter().sum::<u64>() + name.len() as u64)
    })
}
END
    done
    cat <<END
async fn run() {
    let mut sum = 0;
$(for ((output = 0; output < outputs; output++)); do
        echo "    let mut tasks = Vec::new();"
        for ((site = output; site < sites; site += outputs)); do
            echo "    tasks.push(site_$site($site));"
        done
        echo "    for task in tasks {"
        echo "        sum += task.await.unwrap().0;"
        echo "    }"
    done)
    println!("{sum}");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(run());
}
END
}

# The user time of compiling one program, in seconds, and its .text, in kB. What it prints is compared elsewhere.
measure() {
    local program=$1 user
    shift
    touch src/bin/"$program.rs"
    TIMEFORMAT=%U
    user=$({ time cargo build --quiet --release --bin "$program" "$@" >&2 2>"$work/errors"; } 2>&1) || {
        cat "$work/errors"
        exit 1
    }
    echo "$user $(size -A "$CARGO_TARGET_DIR/release/$program" | awk '$1 == ".text" { printf "%.0f", $2 / 1000 }')"
}

# The table's rows: what, bare, shim, limit. Without a bare one, the limit is that of the shim's itself. The programs are
# compiled in turn, again if the time is beyond the limit, up to three times, and the least time of each counts: a busy
# machine fails nothing, and hides what is a little beyond.
rows=$work/rows
compare() {
    local name=$1 suffix=$2 time_limit=$3 text_limit=$4 round bare shim
    shift 4
    cargo build --quiet --release --lib "$@"
    for round in 1 2 3; do
        measure "bare$suffix" "$@" >>"$work/bare $name"
        measure "shim$suffix" "$@" >>"$work/shim $name"
        bare=$(sort -n "$work/bare $name" | head -n 1)
        shim=$(sort -n "$work/shim $name" | head -n 1)
        if awk "BEGIN { exit !(${shim% *} <= ${bare% *} * $time_limit) }"; then
            break
        fi
        echo "$name: ${bare% *} and ${shim% *} s in round $round"
    done
    [ "$("$CARGO_TARGET_DIR/release/bare$suffix")" = "$("$CARGO_TARGET_DIR/release/shim$suffix")" ]
    echo "$name: seconds|${bare% *}|${shim% *}|$time_limit" >>"$rows"
    echo "$name: kB of .text|${bare#* }|${shim#* }|$text_limit" >>"$rows"
}

package sites
cd "$work/sites"
mkdir src/bin
write_programs() {
    program tokio::spawn tokio::task::JoinHandle "${@:2}" >"src/bin/bare$1.rs"
    program aiocontextvars::shim::spawn aiocontextvars::shim::JoinHandle "${@:2}" >"src/bin/shim$1.rs"
}
write_programs "" "$sites" 1
write_programs -outputs 20 20
compare "$sites sites, tokio" "" 1.25 1.35
compare "$sites sites, all runtimes" "" 1.5 1.6 --features three
compare "20 outputs, tokio" -outputs 4 2.5

package hello
cd "$work/hello"
crates=$(cargo tree --edges normal,build --prefix none | sed 's/ (\*)$//' | grep -v '^hello ' | sort -u)
echo "crates of a hello world||$(wc -l <<<"$crates")|20" >>"$rows"
echo "proc macros among them||$(grep -c '(proc-macro)' <<<"$crates" || true)|0" >>"$rows"

awk -F '|' '
    BEGIN { printf "%-34s%10s%10s%8s%8s\n", "what compiling costs", "bare", "shim", "ratio", "limit" }
    {
        value = $2 == "" ? $3 : $3 / $2
        beyond = value > $4
        off = off || beyond
        printf "%-34s%10s%10s%8s%8s%s\n", $1, $2, $3, $2 == "" ? "" : sprintf("%.2f", value), $4, beyond ? "  beyond the limit" : ""
    }
    END { exit off }' "$rows"
