#!/usr/bin/env bash
# Jobs beyond the process: in memory, and over PostgreSQL, NATS, Redis and RabbitMQ, which run for as long as this does.
set -euo pipefail

if [ "${1-}" != --with-servers ]; then
    exec bash examples/jobs/servers.sh bash "$0" --with-servers
fi

cargo build --quiet -p jobs
jobs=${CARGO_TARGET_DIR:-target}/debug/jobs

# The numbers of the table: jobs, deliveries, jobs delivered again, in the wrong context, with problems, lost.
run() {
    local output
    output=$("$jobs" "$@")
    echo "$output" | sed 's/^/  /'
    read -r _ count deliveries redelivered wrong problems lost <<<"$(tail -n 1 <<<"$output")"
    ((wrong == 0 && lost == 0 && problems > count / 20))
    # A fifth of most of them panics the first time.
    ((redelivered > count / 8 && deliveries >= count + redelivered))
}

echo "+ jobs in memory"
cargo test --quiet -p jobs --bin jobs
run
for backend in postgres nats; do
    echo "+ jobs over $backend, in two processes, and with one of them killed"
    run --backend "$backend" --jobs 2000
    run --backend "$backend" --kill
done

echo "+ what goes wrong without the headers of messages"
for backend in memory postgres nats; do
    if "$jobs" --backend "$backend" --jobs 50 --bare >/dev/null; then
        echo "jobs over $backend are not supposed to be right without them"
        exit 1
    fi
done

echo "+ command lines that jobs does not take, and servers that are not there"
unset_urls=(env -u JOBS_POSTGRES_URL -u JOBS_NATS_URL)
refused() {
    local expected=$1 status=0 message
    shift
    message=$("${unset_urls[@]}" "$jobs" "$@" 2>&1 >/dev/null) || status=$?
    echo "  $status: $message"
    [[ $status -eq $expected && $message == jobs:* ]]
}
refused 2 --nope
refused 2 nope
refused 2 --backend nope
refused 2 --jobs 0
refused 2 --kill
refused 2 --url nats://127.0.0.1:1
refused 2 --backend nats
refused 1 --backend nats --url nats://127.0.0.1:1
refused 1 --backend postgres --url postgres://postgres@127.0.0.1:1/postgres

echo "+ brokers"
cargo test --quiet -p recipes --features kafka --test brokers -- --include-ignored --skip amqp::jobs

echo "+ jobs over RabbitMQ"
bash ci/rabbitmq.sh

echo "+ baggage to a Python service and back"
bash ci/opentelemetry-python.sh

echo "+ row-level security by a variable"
cargo test --quiet -p jobs --test row_level_security -- --ignored
