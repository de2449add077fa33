#!/usr/bin/env bash
# Counts the instructions of the hot operations with callgrind and compares them with benches/counts.tsv: unlike times,
# they are the same in each run, on a busy machine too. Fails where one is off by more than 3 % and one instruction,
# up or down, so a change of speed goes with a change of the table, which --bless writes. A spawn on tokio or smol has
# limits of its own, which stand below and --bless does not move. The counts belong to one compiler, target and C
# library, named in the table; elsewhere they are shown and nothing fails.
# All is compiled in one unit. In several, what else the program has decides which functions of a runtime are inlined:
# a spawn on bare tokio takes 2,828 to 2,889 instructions then, and 2,590 in one, where it stays.
# Usage: ci/counts.sh [--bless]
set -euo pipefail

table=benches/counts.tsv
times=2000
export CARGO_PROFILE_BENCH_CODEGEN_UNITS=1
bless=${1-}
[ -z "$bless" ] || [ "$bless" = --bless ] || { echo "counts.sh: takes --bless or nothing, not $bless"; exit 2; }
command -v valgrind >/dev/null || { echo "skipped: no valgrind"; exit 0; }

host=$(rustc -vV | sed -n 's/^host: //p')
here="$(rustc -V), $host, $(getconf GNU_LIBC_VERSION 2>/dev/null || echo "another C library")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Builds the program with these features and counts the operations whose names match. Each runtime has a build of its own:
# with another one beside it, a spawn looks for both.
count() {
    local features=$1 names=$2 program
    program=$(cargo bench --quiet -p aiocontextvars --features "$features" --bench counts --no-run --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    cp "$program" "$work/counts"
    cd "$work"
    ./counts --names | grep -E "$names" >names.now
    cat names.now >>names
    # Arguments and environment have the same length everywhere, and so everything else the same place.
    while read -r name; do
        echo "$name $times"
        echo "$name $((2 * times))"
    done <names.now | xargs -P "$(nproc)" -L 1 bash -c \
        'env -i "$0" --quiet --log-file=/dev/null --tool=callgrind --callgrind-out-file="$1.$2" ./counts "$1" "$2"' "$(command -v valgrind)"
    cd "$OLDPWD"
}
count tokio ''
count smol '^spawn_smol_(bare|native|current)$'

total() {
    sed -n 's/^totals: //p' "$1.$2"
}
cd "$work"
while read -r name; do
    awk -v name="$name" -v once="$(total "$name" "$times")" -v twice="$(total "$name" $((2 * times)))" \
        -v times="$times" 'BEGIN { printf "%s\t%.1f\n", name, (twice - once) / times }'
done <names >measured
cd "$OLDPWD"

if [ -n "$bless" ]; then
    {
        echo "# Instructions for each operation of benches/counts.rs, checked and written by ci/counts.sh."
        echo "# $here"
        cat "$work/measured"
    } >"$table"
fi

# Where all was compiled in several units, they were 3,290 and 3,400, 2,760 and 2,900.
limits=$work/limits
printf '%s\t%s\n' spawn_tokio_native 3060 spawn_tokio_current 3205 \
    spawn_smol_native 2670 spawn_smol_current 2790 >"$limits"

verdict=0
awk -F '\t' -v limits="$limits" -v table="$table" '
    FILENAME == limits { limit[$1] = $2; next }
    FILENAME == table { if (!/^#/) { committed[$1] = $2 } next }
    FNR == 1 { printf "%-26s%12s%12s%12s\n", "operation", "committed", "measured", "difference" }
    !($1 in committed) {
        printf "%-26s%12s%12.1f%12s  not in the table\n", $1, "", $2, ""
        off = 1
        next
    }
    {
        was = committed[$1]
        delete committed[$1]
        change = $2 - was
        allowed = was * 0.03 > 1 ? was * 0.03 : 1
        percent = sprintf("%+.1f %%", was > 0 ? 100 * change / was : 0)
        beyond = change > allowed || -change > allowed
        over = $1 in limit && $2 > limit[$1]
        seen[$1]
        off = off || beyond || over
        printf "%-26s%12.1f%12.1f%12s%s%s\n", $1, was, $2, percent, beyond ? "  beyond 3 %" : "",
            over ? "  beyond the limit of " limit[$1] : ""
    }
    END {
        for (name in limit) {
            if (!(name in seen)) {
                printf "%-26s  has a limit and is not measured\n", name
                off = 1
            }
        }
        for (name in committed) {
            printf "%-26s%12.1f%12s%12s  in the table only\n", name, committed[name], "", ""
            off = 1
        }
        exit off
    }' "$limits" "$table" "$work/measured" || verdict=1

counted_with=$(sed -n '2s/^# //p' "$table")
if [ "$counted_with" != "$here" ]; then
    echo "only shown: the table is for $counted_with, and this is $here"
elif [ "$verdict" -ne 0 ]; then
    echo "If a change within the limits is meant to be: ci/counts.sh --bless, and commit the table with it."
    exit 1
fi
