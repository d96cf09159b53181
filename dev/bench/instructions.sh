#!/bin/sh
# Instructions for each call, counted by callgrind: the difference of two runs that differ
# only in how often they call, so that loading and compiling fall out.
#
#   ./instructions.sh [SCENARIO [SUBJECT...]]
#
# Build first: cargo build --release (with --features peers to see the peers too).
# A scenario of the group "call" or "allocations" is meant; all floors are the default.
set -eu

bench=${WAPC_BENCH:-$(dirname "$0")/target/release/wapc-bench}
scenario=${1:-echo-64}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- floor-wasmtime floor-wasmtime-lent floor-wasmi floor-wasmi-lent

few=1000
many=11000

# What callgrind counts for $2 calls of the subject $1.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null \
        "$bench" repeat --subjects "$1" --scenario "$scenario" --times "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

echo "| $scenario | instructions |"
echo "|---|--:|"
for subject; do
    base=$(count "$subject" $few)
    total=$(count "$subject" $many)
    if [ -z "$base" ] || [ -z "$total" ]; then
        echo "$subject: callgrind gave no count" >&2
        continue
    fi
    echo "| \`$subject\` | $(((total - base) / (many - few))) |"
done
