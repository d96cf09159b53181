#!/bin/sh
# Builds workloads.wasm here. It is measured and not compared, so its bytes may differ with the compiler.
set -eu
cd "$(dirname "$0")"
here=$(pwd)
target=wasm32-unknown-unknown
RUSTFLAGS="--remap-path-prefix=$here=/workloads" cargo build --quiet --release --locked --target $target
install -m 644 "${CARGO_TARGET_DIR:-target}/$target/release/rust_workloads.wasm" workloads.wasm
