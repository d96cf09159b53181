#!/bin/sh
# Builds hello_c.wasm, reactor_c.wasm and command_c.wasm into the folder $1 (default: ../wasm).
# clang 14 made the committed files; it is the last that keeps to WebAssembly 1.0. CC names another.
set -eu
out=$(cd "${1:-$(dirname "$0")/../wasm}" && pwd)
cd "$(dirname "$0")"
here=$(pwd)
. ../tools.sh

CC=${CC:-clang-14}
command -v "$CC" >/dev/null ||
    missing "$CC" "On Debian: apt-get install clang-14. Or name another clang: CC=clang"
command -v wasm-ld-14 >/dev/null || command -v wasm-ld >/dev/null ||
    missing wasm-ld "On Debian: apt-get install lld-14"
sysroot=${WASI_SYSROOT:-/usr}
[ -f "$sysroot/lib/wasm32-wasi/libc.a" ] ||
    missing "the C library for WASI" \
        "On Debian: apt-get install wasi-libc libclang-rt-14-dev-wasm32. Or name that of a WASI SDK: WASI_SYSROOT=FOLDER"
echo "c: $("$CC" --version | head -n 1)"

# The linker beside the compiler: a wasm-ld from elsewhere may not read its bitcode.
common="-std=gnu11 -Wall -Wextra -Werror -Oz -flto -Wl,--strip-all -B$("$CC" -print-prog-name=wasm-ld | xargs dirname)"

# -fno-builtin: in the freestanding one a loop must not become a call of memcpy, which nobody provides.
"$CC" --target=wasm32 $common -nostdlib -ffreestanding -fno-builtin -Wl,--no-entry \
    hello.c operations.c -o "$out/hello_c.wasm"
"$CC" --target=wasm32-wasi --sysroot="$sysroot" $common -mexec-model=reactor \
    reactor.c wasi.c operations.c -o "$out/reactor_c.wasm"
"$CC" --target=wasm32-wasi --sysroot="$sysroot" $common -mexec-model=command \
    command.c wasi.c operations.c -o "$out/command_c.wasm"
chmod 644 "$out"/hello_c.wasm "$out"/reactor_c.wasm "$out"/command_c.wasm
