"""Makes the goldens of this folder from the reference implementations (transformers, tokenizers); README.md says what is what.

  python3 -m venv v && v/bin/pip install torch transformers tokenizers safetensors numpy
  v/bin/python make_goldens.py [models] [tokenizers] [continuations] [--smollm2 FOLDER] [--tiny FOLDER]

Without names it makes everything. Only the SmolLM2 goldens need its folder (deploy/models/make_smollm2.sh makes it).
Made with torch 2.15, transformers 5.23 and tokenizers 0.23.
"""
import argparse
import os

import golden_continuations
import golden_models
import golden_tokenizers

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ["models", "tokenizers", "continuations"]
    parser.add_argument("what", nargs="*", choices=[*kinds, []], default=[])
    parser.add_argument("--smollm2", default=os.environ.get("DECANT_SMOLLM2", f"{CACHE}/decant/smollm2"))
    parser.add_argument("--tiny", default=os.path.normpath(f"{HERE}/../../../deploy/models/decant-tiny"))
    args = parser.parse_args()
    what = args.what or kinds
    if "models" in what:
        golden_models.make(HERE)
    if "tokenizers" in what:
        golden_tokenizers.make(f"{HERE}/tokenizers", {"decant-tiny": args.tiny, "smollm2": args.smollm2})
    if "continuations" in what:
        golden_continuations.make(f"{HERE}/smollm2_continuations.json", args.smollm2)


if __name__ == "__main__":
    main()
