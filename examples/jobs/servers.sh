#!/usr/bin/env bash
# Runs a command with servers of its own, on loopback and on free ports: PostgreSQL, NATS and Redis, with their URLs in
# JOBS_POSTGRES_URL, JOBS_NATS_URL and JOBS_REDIS_URL. Their data is in a temporary folder, which goes with them. They are
# from Debian's packages `postgresql`, `nats-server` and `redis-server`, which root installs where they are missing.
set -euo pipefail

[ $# -gt 0 ] || { echo "usage: servers.sh COMMAND..." >&2; exit 2; }

PATH=$PATH:/usr/sbin
postgres_bin() {
    find /usr/lib/postgresql -path '*/bin/initdb' -printf '%h\n' 2>/dev/null | sort -V | tail -n 1
}
missing() {
    [ -n "$(postgres_bin)" ] || echo postgresql
    command -v nats-server >/dev/null || echo nats-server
    command -v redis-server >/dev/null || echo redis-server
}
packages=$(missing)
if [ -n "$packages" ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "servers.sh: install $(echo $packages) first" >&2
        exit 1
    fi
    # shellcheck disable=SC2086  # One word for each.
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages; } >&2
fi
bin=$(postgres_bin)

# PostgreSQL refuses to be run by root.
as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then
        runuser -u postgres -- "$@"
    else
        "$@"
    fi
}

source "$(dirname "${BASH_SOURCE[0]}")/loopback.sh"

data=$(mktemp -d)
processes=()
command=
stop() {
    # A shell that is told to end only does so at once if its command is in the background.
    [ -z "$command" ] || kill "$command" 2>/dev/null || true
    [ ! -f "$data/postgres/postmaster.pid" ] || as_postgres "$bin/pg_ctl" -D "$data/postgres" -m immediate -w stop >/dev/null || true
    for process in "${processes[@]}"; do { kill "$process" && wait "$process"; } 2>/dev/null || true; done
    rm -rf "$data"
}
trap stop EXIT
trap 'exit 130' INT TERM

chmod 755 "$data"
mkdir "$data/postgres" "$data/nats"
[ "$(id -u)" -ne 0 ] || chown postgres "$data/postgres"
as_postgres "$bin/initdb" -D "$data/postgres" -U postgres -A trust --no-sync >"$data/log"
port=$(free_port)
as_postgres "$bin/pg_ctl" -D "$data/postgres" -w -l "$data/postgres/log" \
    -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off" start >"$data/log" ||
    { cat "$data/postgres/log" >&2; exit 1; }
export JOBS_POSTGRES_URL=postgres://postgres@127.0.0.1:$port/postgres

# Starts a server that logs to a file of its name, and waits until it accepts connections.
start() {
    local port=$1 log=$data/$2.log
    shift
    "$@" >"$log" 2>&1 &
    processes+=($!)
    wait_for "$port" "${processes[-1]}" "$log" 100
}
port=$(free_port)
start "$port" nats-server -a 127.0.0.1 -p "$port" -js -sd "$data/nats"
export JOBS_NATS_URL=nats://127.0.0.1:$port
port=$(free_port)
start "$port" redis-server --bind 127.0.0.1 --port "$port" --dir "$data" --save '' --appendonly no
export JOBS_REDIS_URL=redis://127.0.0.1:$port/

"$@" <&0 &
command=$!
status=0
wait "$command" || status=$?
command=
exit "$status"
