#!/usr/bin/env bash
# Runs the examples: the gateway on every runtime and with every carrier, and the small ones.
set -euo pipefail

echo "+ the README's gateway command"
command=$(grep -m1 '^cargo run --release --example gateway' README.md)
$command

# A debug build, which the tests have made already.
gateway() {
    cargo run --quiet --all-features --example gateway -- "$@"
}

echo "+ gateway on all runtimes"
lines=$(gateway --runtime all --json)
echo "$lines"
test "$(grep -c '"misattributed":0,"lost":0,' <<<"$lines")" -eq 5
# Where a runtime tells which of its tasks is running, a route outside of the carrier cannot set the tenant.
told='"runtime":"\(tokio\|tokio-current-thread\|async-std\)",.*"logins":250,"refused":250,"left_behind":0,"wrong_hops":\[\]'
untold='"runtime":"\(event-loop\|smol\)",.*"logins":250,"refused":0,"left_behind":0,"wrong_hops":\[\]'
test "$(grep -c "$told" <<<"$lines")" -eq 3
test "$(grep -c "$untold" <<<"$lines")" -eq 2

echo "+ what goes wrong without context variables"
for carrier in thread-local task-local; do
    runtimes=all
    [ "$carrier" = thread-local ] || runtimes=tokio
    lines=$(gateway --runtime "$runtimes" --carrier "$carrier" --requests 200 --json)
    echo "$lines"
    if grep '"misattributed":0,"lost":0,' <<<"$lines"; then
        echo "the carrier $carrier is not supposed to work"
        exit 1
    fi
    # Each of these kinds of work is done wrong on each runtime.
    wrong=(scope/spawn 'part 1/spawn')
    [ "$carrier" = task-local ] || wrong+=('part 0' scope)
    for hop in "${wrong[@]}"; do
        if grep -v "\"$hop\"" <<<"$lines"; then
            echo "the carrier $carrier is not supposed to work in the hop $hop"
            exit 1
        fi
    done
    if [ "$carrier" = thread-local ] && grep '"left_behind":0,' <<<"$lines"; then
        echo "a thread-local is not supposed to be cleared between requests"
        exit 1
    fi
done

echo "+ each line of the gateway's log has its request, its tenant and its span"
lines=$(RUST_LOG=info,gateway=debug gateway --runtime all --requests 50 --log json 2>&1 >/dev/null)
python3 -c '
import json, sys

hops = [line for line in map(json.loads, sys.stdin) if line["fields"]["message"].startswith("hop ")]
inside = [line for line in hops if line["fields"]["message"] not in ("hop health", "hop login")]
assert inside and all({"request_id", "tenant", "span"} <= line.keys() for line in inside)
print(len(inside), "lines of hops")' <<<"$lines"
RUST_LOG=gateway=debug gateway --requests 50 2>&1 >/dev/null |
    grep -qE '^request_id=7 tenant="acme" .* DEBUG request\{path="/"\}: gateway::carrier: hop spawn/spawn/spawn$'

echo "+ two gateways, of which the first is an edge and passes requests to the second"
bash ci/gateways.sh

echo "+ command lines that the gateway does not take"
for args in "--runtime nope" "--carrier nope" "--requests 0" "--log nope" "--concurrency x" "--json --listen 127.0.0.1:0" "--nope" nope \
    "--inside" "--upstream nope" "--upstream ftp://127.0.0.1/" "--upstream http://127.0.0.1:1/ --carrier thread-local"; do
    status=0
    # shellcheck disable=SC2086
    message=$(gateway $args 2>&1) || status=$?
    echo "$status: $message"
    test "$status" -eq 2
    grep -q '^gateway: ' <<<"$message"
done

echo "+ quickstart and axum"
cargo run --quiet --example quickstart
lines=$(cargo run --quiet --features tokio,tower --example axum -- --self-test 2>&1)
echo "$lines"
grep -q '^request_id=1 tenant="acme" .* INFO request{path="/"}: axum: a task of the request$' <<<"$lines"

echo "+ one text of main on each runtime by its feature alone, and on the event loop with two or none"
one_runtime() {
    local features=$1 runtime=$2 expected
    expected=$(printf '%s\n' 'a timer of request Some(7)' "a task of request Some(7) ran on $runtime" \
        'a blocking job of request Some(7)')
    diff <(cargo run --quiet --example one_runtime --features "$features") <(echo "$expected")
    echo "  ${features:-none}: $runtime"
}
for runtime in tokio smol async-std; do
    one_runtime "$runtime" "$runtime"
done
one_runtime tokio,smol "the event loop"
one_runtime "" "the event loop"

echo "+ actor, on all runtimes, and what goes wrong without its messages' contexts"
cargo run --quiet --example actor
cargo run --quiet --all-features --example actor -- --runtime all --requests 2000 --senders 8 --quiet
if cargo run --quiet --example actor -- --bare --quiet; then
    echo "messages are not supposed to work without their contexts"
    exit 1
fi

echo "+ timers"
cargo run --quiet --example timers -- --virtual --for 3600 report=20m backup=30m
printf 'list\ncancel heartbeat\nquit\n' | cargo run --quiet --example timers

echo "+ scale"
plots=$(mktemp -d)
trap 'rm -rf "$plots"' EXIT
cargo run --quiet --release -p scale -- --quick --out "$plots"
test "$(grep -l '^<svg' "$plots"/scale-*.svg | wc -l)" -eq 3

echo "+ soak: random work on every runtime at once, and many parked tasks"
cargo run --quiet --release -p soak -- --seconds 5
cargo run --quiet --release -p soak -- --parked 100000
