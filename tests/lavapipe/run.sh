#!/usr/bin/env bash
# Holds the GPU kernels to their references, and whole runs to PyTorch's curves, on Mesa's software device: no GPU needed.
# Wants Debian's mesa-vulkan-drivers and libvulkan1, and gcc. Arguments choose among the tests.
set -euo pipefail
cd "$(dirname "$0")/../.."

lavapipe="${LAVAPIPE:-/usr/lib/$(gcc -dumpmachine)/libvulkan_lvp.so}"
if [ ! -e "$lavapipe" ]; then
    echo "no software Vulkan device at $lavapipe: install mesa-vulkan-drivers, or set LAVAPIPE to its library" >&2
    exit 1
fi
driver="$(mktemp -d)"
trap 'rm -r "$driver"' EXIT
gcc -shared -fPIC -O1 -Wall -Werror -o "$driver/driver.so" tests/lavapipe/driver.c -ldl
cat > "$driver/driver.json" <<JSON
{ "file_format_version": "1.0.0", "ICD": { "library_path": "$driver/driver.so", "api_version": "1.3.0" } }
JSON
LAVAPIPE="$lavapipe" VK_ICD_FILENAMES="$driver/driver.json" KDX_TEST_DEVICE=vulkan:0 \
    cargo test --release --locked --features vulkan --test it -- "${@:-gpu::}"
