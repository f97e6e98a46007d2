#!/usr/bin/env bash
# Measures a model's thresholds and its table of profiles and writes both where the build picks them up:
# common/compress/catalogue/calibration/NAME.json and common/policy/tables/NAME.json, NAME being the folder's name.
#
#   bash load_tests/quality/measure.sh --model DIR [--prompts N] [--prompt-tokens N]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
[ "${1:-}" = --model ] && [ -n "${2:-}" ] || { sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; }
model=$(realpath "$2")
name=$(basename "$model")
shift 2
cd "$root"
cmake --preset bench >/dev/null
cmake --build --preset bench --target decant profile_table >/dev/null
mkdir -p common/compress/catalogue/calibration common/policy/tables
build/bench/services/cli/decant calibrate --model "$model" --out "common/compress/catalogue/calibration/$name.json"
# The table is measured with the thresholds just found.
cmake --preset bench >/dev/null
cmake --build --preset bench --target profile_table >/dev/null
build/bench/load_tests/quality/profile_table --model "$model" --commit "$(git rev-parse --short HEAD)" --out "common/policy/tables/$name.json" "$@"
