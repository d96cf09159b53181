#!/bin/sh
# Builds hello_zig.wasm into the folder $1 (default: ../wasm). ZIG names the compiler.
# Zig 0.17.0 made the committed file.
set -eu
out=$(cd "${1:-$(dirname "$0")/../wasm}" && pwd)
cd "$(dirname "$0")"
here=$(pwd)
. ../tools.sh

if [ -z "${ZIG:-}" ]; then
    if command -v zig >/dev/null; then
        ZIG=zig
    elif python3 -m ziglang version >/dev/null 2>&1; then
        ZIG="python3 -m ziglang"
    else
        missing zig "Install Zig 0.17.0, or in a Python venv: pip install ziglang==0.17.0"
    fi
fi
command -v ${ZIG%% *} >/dev/null ||
    missing "$ZIG" "ZIG names the compiler; leave it unset to have one looked for."
echo "zig: $($ZIG version)"

# Every path is relative and the cache is thrown away: nothing of this machine reaches the bytes.
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
$ZIG build-exe hello.zig -target wasm32-freestanding -mcpu=generic -O ReleaseSmall -fstrip -fno-entry \
    --export=__guest_call --export=wapc_init \
    --cache-dir "$cache" --global-cache-dir "$cache" -femit-bin="$cache/hello_zig.wasm"
install -m 644 "$cache/hello_zig.wasm" "$out/hello_zig.wasm"
