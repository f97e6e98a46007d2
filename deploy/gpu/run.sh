#!/usr/bin/env bash
# Runs what deploy/gpu_bundle.sh packed, on a machine with a GPU and nothing else installed. Unpacks beside itself first.
#
#   bash run.sh tests [GTEST_FLAG...]      every kernel test on GPU 0
#   bash run.sh bench [--quick] [--json FILE]
#   bash run.sh demo                       four services with decant-tiny on GPU 0, one question
#   bash run.sh exec PROGRAM ARGUMENT...   any program of the bundle
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command=${1:-}
[ -n "$command" ] || { sed -n '4,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; }
shift

tree=${DECANT_BUNDLE_DIR:-$here/unpacked}
if [ ! -f "$tree/complete" ]; then
  mkdir -p "$tree"
  unpack=$here/unpack
  "$unpack/ld-linux-x86-64.so.2" --library-path "$unpack" "$unpack/zstd" -dcq --long=28 "$here/decant.tar.zst" |
    tar -xf - -C "$tree"
  touch "$tree/complete"
fi

# The system's own C library where it is as new as the one this was built with, else the one that came along.
start=()
libraries=$tree/lib
have=$( (ldd --version 2>/dev/null || true) | sed -n '1s/.* //p')
if [ "$(printf '%s\n' "$have" "$(cat "$tree/glibc_version")" | sort -V | head -1)" != "$(cat "$tree/glibc_version")" ]; then
  libraries=$tree/lib:$tree/lib/glibc
  start=("$tree/lib/glibc/ld-linux-x86-64.so.2" --library-path "$libraries")
fi
# Becomes the program: a service that runs in the background is ended by the id of its shell.
become() {
  local program=$1
  shift
  export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  exec "${start[@]}" "$tree/bin/$program" "$@"
}
run() { (become "$@"); }

tests() {
  local failed=0 name status
  for program in "$tree"/bin/*_test_cuda; do
    name=$(basename "$program")
    status=0
    run "$name" --gtest_brief=1 "$@" || status=$?
    case $status in
      0) echo "passed  $name" ;;
      77) echo "skipped $name: no GPU" ;;
      *) echo "FAILED  $name ($status)"; failed=1 ;;
    esac
  done
  return $failed
}

demo() {
  local work line address
  work=$(mktemp -d)
  pids=()
  trap 'for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done; wait' EXIT
  start_service() {
    local name=$1
    shift
    become "decant_$name" "$@" >"$work/$name.out" 2>"$work/$name.err" &
    pids+=($!)
    for _ in $(seq 300); do
      line=$(grep -m1 '^ready ' "$work/$name.out" 2>/dev/null || true)
      [ -n "$line" ] && break
      kill -0 "${pids[-1]}" 2>/dev/null || break
      sleep 0.1
    done
    [ -n "$line" ] || { echo "demo: $name did not start:" >&2; cat "$work/$name.err" >&2; exit 1; }
    address=$(sed -E "s/^ready $name=([^ ]+).*/\1/" <<<"$line")
    echo "$line"
  }
  local model=$tree/model pool router
  local device=(--device "${DECANT_DEVICE:-cuda:0}" --device-memory 2GiB)
  start_service pool
  pool=$address
  start_service router --model "$model" --pool "$pool"
  router=$address
  start_service prefill --model "$model" --router "$router" "${device[@]}"
  start_service decode --model "$model" --router "$router" "${device[@]}"
  run decant generate --router "$router" --max-tokens 32 "Once upon a time"
}

case "$command" in
  tests) tests "$@" ;;
  bench) run kernels_bench_cuda "$@" ;;
  demo) demo ;;
  exec) run "$@" ;;
  *) echo "run.sh: no command '$command'; there are tests, bench, demo and exec" >&2; exit 2 ;;
esac
