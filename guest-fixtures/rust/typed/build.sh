#!/bin/sh
# Builds typed.wasm here. Its bytes may differ with the compiler and with `wapc-typed`.
set -eu
cd "$(dirname "$0")"
here=$(cd ../../.. && pwd)
target=wasm32-unknown-unknown
flags="--remap-path-prefix=$here=/wapc"
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
    flags="$flags --remap-path-prefix=${registry%/}=/registry"
done
RUSTFLAGS="$flags" cargo build --quiet --release --locked --target $target
install -m 644 "${CARGO_TARGET_DIR:-target}/$target/release/rust_typed.wasm" typed.wasm
