#!/bin/sh
# Builds hello_rust.wasm and hello_rust_wasi.wasm into the folder $1 (default: ../wasm).
#
# rust-toolchain.toml names the compiler of the committed files. Where rustup has no such targets,
# RUSTC, or else Debian's /usr/bin/rustc, compiles the standard library too: same guests, other bytes.
set -eu
out=$(cd "${1:-$(dirname "$0")/../wasm}" && pwd)
cd "$(dirname "$0")"
here=$(pwd)
. ../tools.sh

command -v cargo >/dev/null ||
    missing cargo "Install Rust with rustup (https://rustup.rs)."

targets="wasm32-unknown-unknown wasm32-wasip1"

has_targets() {
    for target in $targets; do
        libraries=$(rustc --print target-libdir --target "$target" 2>/dev/null) || return 1
        ls "$libraries"/libstd-*.rlib >/dev/null 2>&1 || return 1
    done
}

# No path of this machine in the guests: each one is given as FOLDER=NAME.
remap() {
    for pair in "$@"; do
        printf '%s\037' "--remap-path-prefix=$pair"
    done
}

# Rebuilt std and a libc of the system's, for a compiler that comes without the targets.
use_system_compiler() {
    RUSTC=${RUSTC:-/usr/bin/rustc}
    std_source=$("$RUSTC" --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library
    libc=/usr/lib/wasm32-wasi
    [ -d "$std_source" ] ||
        missing "a Rust compiler for $targets" \
            "Run: rustup target add $targets (or on Debian: apt-get install rustc-web rust-web-src wasi-libc)"
    [ -f $libc/libc.a ] ||
        missing "the C library for WASI" "On Debian: apt-get install wasi-libc"
    linker=$(env -u RUSTC rustc --print sysroot)/lib/rustlib/$(env -u RUSTC rustc -vV | sed -n 's/^host: //p')/bin/rust-lld
    [ -x "$linker" ] || linker=$(command -v rust-lld || command -v wasm-ld || command -v wasm-ld-14) ||
        missing "a linker for WebAssembly" "On Debian: apt-get install lld"
    export RUSTC RUSTC_BOOTSTRAP=1
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$linker" CARGO_TARGET_WASM32_WASIP1_LINKER="$linker"
    build_std=-Zbuild-std=std,panic_abort
    wasi_flags=$(printf -- '-Lnative=%s\037-Clink-self-contained=no' $libc)
}

build_std=
wasi_flags=
if [ -n "${RUSTC:-}" ] || ! { rustup target add $targets >/dev/null 2>&1 || has_targets; }; then
    use_system_compiler
fi
echo "rust: $("${RUSTC:-rustc}" --version)"

cargo fetch --quiet --locked
sysroot=$("${RUSTC:-rustc}" --print sysroot)
commit=$("${RUSTC:-rustc}" -vV | sed -n 's/^commit-hash: //p')
paths=$(remap "$here=/hello-rust" "$sysroot/lib/rustlib/src/rust=/rustc/$commit")
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
    paths=$paths$(remap "${registry%/}=/registry")
done

for target in $targets; do
    flags=$paths
    [ "$target" = wasm32-wasip1 ] && flags=$paths$wasi_flags
    CARGO_ENCODED_RUSTFLAGS=${flags%"$(printf '\037')"} \
        cargo build --quiet --release --locked --target "$target" $build_std
done
built=${CARGO_TARGET_DIR:-target}
install -m 644 "$built/wasm32-unknown-unknown/release/hello_rust.wasm" "$out/hello_rust.wasm"
install -m 644 "$built/wasm32-wasip1/release/hello_rust.wasm" "$out/hello_rust_wasi.wasm"
