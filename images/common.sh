# Read by the build scripts beside it: what they need, and how a file system becomes an image.
# shellcheck shell=sh

# The day Debian 13 was released. Whatever is newer is dated back to it, so that the same packages
# give the same image, bit for bit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1754697600}
export SOURCE_DATE_EPOCH

images=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

engine=${CONTAINER_ENGINE:-docker}

for tool in mmdebstrap "$engine" python3; do
    if ! command -v "$tool" >/dev/null; then
        echo "$tool is missing: install it (apt-get install mmdebstrap docker.io python3)." >&2
        exit 1
    fi
done
if ! "$engine" ps --quiet >/dev/null 2>&1; then
    echo "$engine does not answer: start its engine, or ask to be allowed to use it (group docker)." >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# load_image TAG CONFIG: $work/rootfs.tar becomes an image of the engine.
load_image() {
    "$images/archive" "$work/rootfs.tar" "$1" "$work/image.tar" --config "$2"
    "$engine" load --quiet --input "$work/image.tar" >/dev/null
    echo "$1"
}
