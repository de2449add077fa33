#!/usr/bin/env bash
# Two processes of the gateway: an edge, which believes no baggage, and one behind it, which knows whose request it is by
# the edge's baggage alone.
set -euo pipefail

cargo build --quiet --all-features --example gateway
gateway=${CARGO_TARGET_DIR:-target}/debug/examples/gateway

output=$(mktemp -d)
inside=
edge=
stop() {
    for process in $edge $inside; do kill "$process" 2>/dev/null || true; done
    rm -rf "$output"
}
trap stop EXIT

# Starts a gateway on a free port. Its address is in `url`, its process in `process`.
listen() {
    local log=$output/$1
    shift
    : >"$log"
    "$gateway" --listen 127.0.0.1:0 "$@" >"$log" &
    process=$!
    for ((i = 0; i < 100; i++)); do
        url=$(sed -n 's|^serving on \(http://[^ ]*\) .*|\1|p' "$log")
        [ -z "$url" ] || return 0
        kill -0 "$process" || return 1
        sleep 0.1
    done
    return 1
}
listen inside --inside --runtime tokio
inside=$process inside_url=$url

# The load sends forged, malformed and too long baggage with three of four requests, and checks all hops of both.
for runtime in tokio event-loop smol; do
    lines=$("$gateway" --upstream "$inside_url" --runtime "$runtime" --requests 400 --json)
    echo "$lines"
    grep -q '"misattributed":0,"lost":0,' <<<"$lines"
done

# The requests in the head of the example.
listen edge --upstream "$inside_url"
edge=$process edge_url=$url
ask() {
    python3 -c '
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], headers=dict(header.split(": ") for header in sys.argv[2:]))
try:
    print(urllib.request.urlopen(request).read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
' "$@"
}
answer=$(ask "$edge_url" "x-request-id: 42" "x-tenant: acme")
grep -q '^{"request_id":42,"tenant":"acme",.*"upstream":{"request_id":42,"tenant":"acme",' <<<"$answer"
answer=$(ask "$edge_url" "x-tenant: acme" "baggage: tenant=globex")
grep -q '"problems":\["the baggage member `tenant` was left out' <<<"$answer"
if grep globex <<<"$answer"; then
    echo "the edge has believed its caller"
    exit 1
fi
answer=$(ask "$inside_url" "baggage: tenant=globex,request-id=7")
grep -q '^{"request_id":7,"tenant":"globex",' <<<"$answer"
answer=$(ask "$inside_url" "baggage: tenant=globex,request-id=x7")
grep -q '^400 .*member `request-id` was left out' <<<"$answer"

# Both have checked their own hops, and say so by their exit status.
kill "$edge"
wait "$edge"
kill "$inside"
wait "$inside"
edge='' inside=''
tail -q -n 1 "$output"/*
