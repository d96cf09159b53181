#!/bin/sh
# Builds hello_as.wasm into the folder $1 (default: ../wasm).
# package-lock.json names the compiler and the SDK of the committed file.
set -eu
out=$(cd "${1:-$(dirname "$0")/../wasm}" && pwd)
cd "$(dirname "$0")"
here=$(pwd)
. ../tools.sh

command -v npm >/dev/null ||
    missing npm "Install Node.js, 20 or newer."
npm ci --silent --no-audit --no-fund --ignore-scripts
echo "assemblyscript: $(npx --no-install asc --version)"

npx --no-install asc assembly/hello.ts -o "$out/hello_as.wasm" -Osize --converge --runtime incremental \
    --use abort=assembly/hello/abort
chmod 644 "$out/hello_as.wasm"
