# Shared by the build scripts; read with `.`, not run.

# Says in plain words what is missing, and ends the build.
missing() {
    echo "$(basename "$here")/build.sh: $1 is missing." >&2
    echo "  $2" >&2
    exit 1
}
