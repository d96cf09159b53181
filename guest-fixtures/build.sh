#!/bin/sh
# Rebuilds the guests in the languages named as arguments (all of them, if none is) into wasm/, and
# refreshes wasm/SHA256SUMS.
#
#     ./build.sh                  everything
#     ./build.sh rust zig         the guests in these languages
#     ./build.sh --check [...]    builds into a temporary folder, and compares with the committed files
set -eu
cd "$(dirname "$0")"

check=false
if [ "${1:-}" = --check ]; then
    check=true
    shift
fi
[ $# -gt 0 ] || set -- rust c zig assemblyscript
for language in "$@"; do
    if [ ! -x "$language/build.sh" ]; then
        echo "build.sh: no guests in '$language'; there is: $(dirname */build.sh | tr '\n' ' ')" >&2
        exit 2
    fi
done

# Into a folder apart, so that a build that fails leaves the committed files as they are.
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
for language in "$@"; do
    "$language/build.sh" "$built"
done

if $check; then
    different=false
    for guest in "$built"/*.wasm; do
        name=$(basename "$guest")
        if cmp -s "$guest" "wasm/$name"; then
            echo "same       wasm/$name"
        else
            echo "DIFFERENT  wasm/$name"
            different=true
        fi
    done
    (cd wasm && sha256sum --quiet -c SHA256SUMS) || different=true
    if $different; then
        echo "build.sh: other bytes than the committed ones." >&2
        echo "  Compare the compilers named above with those in README.md: another version gives other bytes." >&2
        exit 1
    fi
else
    cp "$built"/*.wasm wasm/
    (cd wasm && LC_ALL=C sha256sum *.wasm >SHA256SUMS)
    cat wasm/SHA256SUMS
fi
