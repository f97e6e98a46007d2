#!/usr/bin/env bash
# Builds the kernel tests, the kernels' benchmark and the four services for a GPU machine (sm_80, sm_90, and PTX for what
# comes later) into a folder of at most 60 MiB that runs there with nothing installed: see run.sh in it. NCCL and cuBLASLt
# are that machine's own.
#
#   bash deploy/gpu_bundle.sh [OUT]        default: build/gpu_bundle
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# -le 1 ] || { sed -n '6s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
out=$(realpath -m "${1:-$root/build/gpu_bundle}")
most=$((60 << 20))
cd "$root"

bash deploy/install.sh
build=${DECANT_BUILD_DIR:-build/gpu}
[ -n "${DECANT_BUILD_DIR:-}" ] || cmake --preset gpu >/dev/null
mapfile -t tests < <(ctest --test-dir "$build" -N -L '^gpu$' | sed -n 's/^ *Test *#[0-9]*: //p')
[ ${#tests[@]} -gt 0 ] || { echo "gpu_bundle: $build has no tests for a GPU; is there an nvcc?" >&2; exit 1; }
programs=("${tests[@]}" kernels_bench_cuda decant decant_router decant_pool decant_prefill decant_decode)
cmake --build "$build" -j2 --target "${programs[@]}"

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/bin" "$stage/lib/glibc"
for program in "${programs[@]}"; do
  strip -s -o "$stage/bin/$program" "$(find "$build" -type f -name "$program" -perm -100 | head -1)"
done
# A library of the C library itself is used only where the machine's own is older.
for program in "$stage"/bin/*; do ldd "$program"; done | sed -nE 's/.*=> (\/[^ ]+) .*|^\s*(\/[^ ]*ld-linux[^ ]*) .*/\1\2/p' | sort -u |
  while read -r library; do
    case "$(basename "$library")" in
      libnccl*|libcublas*) continue ;;
      ld-linux*|libc.so*|libm.so*|libdl.so*|libpthread.so*|librt.so*|libresolv.so*) to=$stage/lib/glibc ;;
      *) to=$stage/lib ;;
    esac
    cp -L "$library" "$to/$(basename "$library")"
    strip --strip-unneeded "$to/$(basename "$library")" 2>/dev/null || true
  done
ldd --version | sed -n '1s/.* //p' >"$stage/glibc_version"
cp -r deploy/models/decant-tiny "$stage/model"

# Programs hold the same kernels: a window over several of them halves what gzip leaves. The unpacker comes along.
rm -rf "$out"
mkdir -p "$out/unpack"
echo "gpu_bundle: packing $(du -sm "$stage" | cut -f1) MiB"
tar -C "$stage" --owner=0 --group=0 -cf - . | zstd -19 -T2 --long=28 -q -o "$out/decant.tar.zst"
unpacker=$(command -v zstd)
ldd "$unpacker" | sed -nE 's/.*=> (\/[^ ]+) .*|^\s*(\/[^ ]*ld-linux[^ ]*) .*/\1\2/p' | xargs cp -L -t "$out/unpack" "$unpacker"
cp deploy/gpu/run.sh "$out/run.sh"
bytes=$(du -sb "$out" | cut -f1)
if [ "$bytes" -gt "$most" ]; then
  echo "gpu_bundle: $bytes bytes in $out, $most is the most" >&2
  exit 1
fi
# As on the other machine: nothing but what came along. Without a GPU every test is skipped.
env -i PATH=/usr/bin:/bin HOME="$stage" DECANT_BUNDLE_DIR="$stage/unpacked" bash "$out/run.sh" tests
env -i PATH=/usr/bin:/bin HOME="$stage" DECANT_BUNDLE_DIR="$stage/unpacked" bash "$out/run.sh" exec decant --help >/dev/null
echo "$out: $((bytes >> 10)) KiB, ${#programs[@]} programs; copy it and run: bash run.sh tests"
