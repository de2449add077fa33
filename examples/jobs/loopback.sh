# Sourced by scripts that start servers on loopback.

# A port that nobody listens on.
free_port() {
    local port
    while port=$((RANDOM % 20000 + 12000)); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

# Waits until the process $2 accepts connections on the port $1, $4 tenths of a second at most. If it does not, ends the script
# and shows its log, $3.
wait_for() {
    local port=$1 process=$2 log=$3 most=$4
    for ((i = 0; ; i++)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
        kill -0 "$process" 2>/dev/null && [ "$i" -lt "$most" ] || { cat "$log" >&2; exit 1; }
        sleep 0.1
    done
}
