#!/usr/bin/env bash
# Every load test, or those named: each figure is one line `name value unit (baseline value, ratio)`.
#
#   bash load_tests/run.sh [NAME ...] [--quick] [--json FILE]
#   NAME: link codec coder attention kernels engine modes budget router traffic index serve tenants chaos peers
#
# `codec` is every profile there and back, the coders and the compiler; `coder` the coders alone.
# `kernels` times every CUDA kernel on a GPU; without one it counts on the launcher what they move, and says what time that
# takes on an H200. Registers and occupancy stand beside it where there is nvcc.
# `serve` and `traffic` replay public traces from the folder that DECANT_TRACES names, else `traces` beside or above the checkout.
# `engine` compares with PyTorch when DECANT_TORCH_PYTHON names a Python that has torch and transformers.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What each runs; several where they belong together.
declare -A binaries=(
  [link]=load_tests/link/link_bench
  [attention]=load_tests/kernels/attention_bench
  [kernels]=load_tests/kernels/kernels_bench
  [engine]=load_tests/engine/engine_bench
  [modes]=load_tests/engine/prefill_modes_bench
  [budget]=load_tests/engine/budget_bench
  [codec]="load_tests/codec/codec_bench load_tests/codec/coder_bench load_tests/codec/compile_bench"
  [coder]=load_tests/codec/coder_bench
  [router]=load_tests/traffic/router_bench
  [serve]=load_tests/traffic/serve_bench
  [tenants]=load_tests/traffic/tenants_bench
  [chaos]=load_tests/chaos/chaos_bench
  [peers]=load_tests/peers/peers_bench
  [traffic]=load_tests/traffic/traffic_bench
  [index]=load_tests/traffic/index_bench
)
order=(link codec attention kernels engine modes budget router traffic index serve tenants chaos peers)

names=()
quick=()
json=
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=(--quick) ;;
    --json) json=${2:?--json needs a file}; shift ;;
    -h|--help) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) [ -n "${binaries[$1]:-}" ] || { echo "load_tests: no test '$1'; there are: ${!binaries[*]}" >&2; exit 2; }; names+=("$1") ;;
  esac
  shift
done
[ ${#names[@]} -gt 0 ] || names=("${order[@]}")
[ -z "$json" ] || json=$(realpath -m "$json")

cd "$root"
bash deploy/install.sh
# Kernels come with the tests, whose launcher runs them.
kernels_preset=cpu
PATH=$PATH:/usr/local/cuda/bin
if command -v nvcc >/dev/null; then kernels_preset=cuda; fi
if [ $kernels_preset = cuda ] && nvidia-smi -L >/dev/null 2>&1; then binaries[kernels]=load_tests/kernels/kernels_bench_cuda; fi
targets=()
runs=()
for name in "${names[@]}"; do
  preset=bench
  [ "$name" != kernels ] || preset=$kernels_preset
  cmake --preset $preset >/dev/null
  for binary in ${binaries[$name]}; do
    cmake --build --preset $preset --target "$(basename "$binary")" >/dev/null
    runs+=("build/$preset/$binary") targets+=("$(basename "$binary")")
  done
done

parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
echo "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | xargs), $(nproc) threads; commit $(git rev-parse --short HEAD 2>/dev/null || echo none)"
for binary in "${runs[@]}"; do
  "$binary" "${quick[@]}" --json "$parts/$(basename "$binary").json"
done
if [ -n "$json" ]; then
  python3 - "$json" "$parts" "${targets[@]}" <<'PY'
import json, sys
out, parts, names = sys.argv[1], sys.argv[2], sys.argv[3:]
figures = [figure for name in names for figure in json.load(open(f"{parts}/{name}.json"))]
json.dump(figures, open(out, "w"), indent=1)
PY
  echo "figures: $json"
fi
