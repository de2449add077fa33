#!/usr/bin/env bash
# Jobs over RabbitMQ, of Debian's package `rabbitmq-server`: a server on loopback and on free ports, with its data in a
# temporary folder, for as long as this runs. Root installs the package where it is missing; if it still is, this says so
# and succeeds.
set -euo pipefail

server=/usr/lib/rabbitmq/bin/rabbitmq-server
if [ ! -x "$server" ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    # Outside of systemd, this run level keeps the package from starting a server.
    { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends rabbitmq-server; } >&2 || true
fi
[ -x "$server" ] || { echo "skipped: no rabbitmq-server"; exit 0; }

# Before the server starts, which does not wait for a compiler.
cargo test --quiet -p recipes --test brokers --no-run

source examples/jobs/loopback.sh
data=$(mktemp -d)
processes=()
stop() {
    for process in "${processes[@]}"; do { kill "$process" && wait "$process"; } 2>/dev/null || true; done
    rm -rf "$data"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Erlang's name server. RabbitMQ would start one otherwise, and leave it running.
export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT
ERL_EPMD_PORT=$(free_port)
epmd >"$data/epmd.log" 2>&1 &
processes+=($!)
wait_for "$ERL_EPMD_PORT" $! "$data/epmd.log" 600

echo '[].' >"$data/plugins"
: >"$data/empty.conf"
export RABBITMQ_NODENAME=jobs@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT RABBITMQ_DIST_PORT \
    RABBITMQ_MNESIA_BASE=$data/mnesia RABBITMQ_LOG_BASE=$data/log RABBITMQ_LOGS=- \
    RABBITMQ_ENABLED_PLUGINS_FILE=$data/plugins RABBITMQ_CONF_ENV_FILE=$data/empty.conf \
    RABBITMQ_CONFIG_FILE=$data/none RABBITMQ_ADVANCED_CONFIG_FILE=$data/none.config \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
RABBITMQ_NODE_PORT=$(free_port)
RABBITMQ_DIST_PORT=$(free_port)
# Its cookie is in its home.
HOME=$data "$server" >"$data/server.log" 2>&1 &
processes+=($!)
wait_for "$RABBITMQ_NODE_PORT" $! "$data/server.log" 600

JOBS_AMQP_URL=amqp://guest:guest@127.0.0.1:$RABBITMQ_NODE_PORT/%2f cargo test --quiet -p recipes --test brokers -- \
    --ignored --exact amqp::jobs_run_in_the_context_of_who_published_them
