#!/bin/sh
# Builds plugins of other dialects, and a WASI command, into the folder $1 (default: this one). They are run
# and not compared, so their bytes may differ with the compiler.
set -eu
out=$(cd "${1:-$(dirname "$0")}" && pwd)
cd "$(dirname "$0")"
here=$(pwd)
rustup target add wasm32-unknown-unknown wasm32-wasip1
export RUSTFLAGS="--remap-path-prefix=$here=/plugins"
cargo build --quiet --release --locked --target wasm32-unknown-unknown --examples
cargo build --quiet --release --locked --target wasm32-wasip1 --bins
target=${CARGO_TARGET_DIR:-target}
for plugin in packed_buffer_rust typst_rust; do
    install -m 644 "$target/wasm32-unknown-unknown/release/examples/$plugin.wasm" "$out/$plugin.wasm"
done
install -m 644 "$target/wasm32-wasip1/release/command_rust.wasm" "$out/command_rust.wasm"
(cd "$out" && LC_ALL=C sha256sum ./*.wasm | sed "s|\./||" >SHA256SUMS)
