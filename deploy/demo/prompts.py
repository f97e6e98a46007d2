#!/usr/bin/env python3
"""The demo's prompts as JSON lines: {"name", "wave", "file", "max_tokens", "expected", "options"}; options are those of `decant generate`.
Requests of one wave are sent at once, waves one after another.

  prompts.py smollm2|tiny OUT_DIR      writes OUT_DIR/<name>.txt and OUT_DIR/prompts.jsonl

The long documents are made from a fixed seed, so that every run asks the same.
"""
import json
import os
import random
import sys

SUBJECTS = "the harbour master|the night watch|a retired surveyor|the ferry crew|the bell ringer|a young archivist|the market wardens|the river pilot".split("|")
VERBS = "wrote down|checked|repaired|carried|counted|painted|measured|described".split("|")
OBJECTS = "the tide tables|a crate of lamp oil|the north beacon|three coils of rope|the guest book|an old brass bell|the mooring lines|a sack of grain".split("|")
ENDS = "before the rain came|while the fog lifted|on a quiet morning|after the last boat left|without a word|under a pale sky|as every year|in good time".split("|")

NAMES = "Alice Bruno Clara Dario Elena Felix Greta Hugo Irene Jonas Karin Leon Marta Nils Olga Pavel Quinn Rosa Simon Tilda".split()
PLACES = "kitchen garden library station harbor market office attic cellar museum theater bakery forest bridge school".split()
THINGS = "lamp chair kettle violin bottle carpet mirror pencil basket hammer ladder blanket compass candle drawer".split()
ADJECTIVES = "old quiet heavy small bright strange broken warm tall empty narrow gentle famous distant simple".split()


# Most requests ask for the profile by name, so that a short demo shows it at work; the last two leave the choice to the pool and differ only in the link they declare.
COMPRESSED = ["--profile", "diffkv"]
FAST_LINK = ["--link-bps", "1e10", "--no-publish"]


def slow_link(bits_per_s):
    return ["--link-bps", bits_per_s, "--no-publish"]


def chronicle(r, sentences, facts):
    """About 14 tokens a sentence; the facts stand at even distances."""
    lines = [f"{r.choice(SUBJECTS).capitalize()} {r.choice(VERBS)} {r.choice(OBJECTS)} {r.choice(ENDS)}." for _ in range(sentences)]
    for i, fact in enumerate(facts):
        lines.insert((i + 1) * sentences // (len(facts) + 1), fact)
    return " ".join(lines)


def chat(text, begin=""):
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{begin}"


def smollm2():
    r = random.Random(7)
    document = chronicle(r, 165, ["The secret code of the harbour is 4821.", "The ship named Aurora carried 300 barrels of honey.",
                                "The lighthouse keeper is called Miriam."])
    about = f"Here is a chronicle.\n\n{document}\n\n"
    yield dict(name="chat", wave=0, text=chat("What is the capital of France?"), max_tokens=24, expected="Paris")
    yield dict(name="document", wave=1, text=chat(about + "How many barrels of honey did the ship named Aurora carry?"), max_tokens=64, expected="300")
    again = ("Many people are mentioned in this chronicle, some of them by what they do and a few by name. One of them looks after the lighthouse and is mentioned "
             "only once. Read the chronicle again with care and then answer this question in one short sentence. What is the name of the lighthouse keeper?")
    yield dict(name="document-again", wave=2, text=chat(about + again, "The lighthouse keeper is called"),
               max_tokens=64, expected="Miriam")
    asks = [("together-1", "What is the capital of Italy?", "Rome"), ("together-2", "How many days are there in a week?", "7"),
            ("together-3", "What is the opposite of hot?", "cold"), ("together-4", "Write two sentences about the sea.", None)]
    for name, ask, expected in asks:
        yield dict(name=name, wave=3, text=chat(ask), max_tokens=32, expected=expected)
    notes = chronicle(r, 40, ["The baker's dog is called Bruno."])
    text = chat(f"Here are some notes.\n\n{notes}\n\nWhat is the name of the baker's dog?", "The baker's dog is called")
    yield dict(name="fast-link", wave=4, text=text, max_tokens=8, expected="Bruno", options=FAST_LINK)
    yield dict(name="slow-link", wave=5, text=text, max_tokens=8, expected="Bruno", options=slow_link("1e7"))


def tiny_document(r, facts, sentences):
    lines = [f"The {r.choice(ADJECTIVES)} {r.choice(THINGS)} stood in the {r.choice(PLACES)}. " for _ in range(sentences)]
    for i, fact in enumerate(facts):
        lines.insert((i + 1) * sentences // (len(facts) + 1), fact)
    return "".join(lines)


def tiny():
    r = random.Random(11)
    codes = {name: "".join(r.choice("0123456789") for _ in range(5)) for name in NAMES}
    facts = lambda names: [f"The code of {n} is {codes[n]}. " for n in names]
    ask = lambda n: f"Question: what is the code of {n}? Answer:"
    small = tiny_document(r, facts(NAMES[:3]), 12)
    document = tiny_document(r, facts(NAMES[:6]), 130)
    yield dict(name="question", wave=0, text=small + ask(NAMES[1]), max_tokens=8, expected=codes[NAMES[1]])
    yield dict(name="document", wave=1, text=document + ask(NAMES[2]), max_tokens=96, expected=codes[NAMES[2]])
    more = tiny_document(r, facts(NAMES[6:7]), 6)
    yield dict(name="document-again", wave=2, text=document + more + ask(NAMES[4]), max_tokens=96, expected=codes[NAMES[4]])
    for i in range(4):
        text = tiny_document(r, facts(NAMES[3 * i:3 * i + 3]), 20)
        yield dict(name=f"together-{i + 1}", wave=3, text=text + ask(NAMES[3 * i + 1]), max_tokens=8, expected=codes[NAMES[3 * i + 1]])
    text = tiny_document(r, facts(NAMES[12:15]), 40) + ask(NAMES[13])
    yield dict(name="fast-link", wave=4, text=text, max_tokens=8, expected=codes[NAMES[13]], options=FAST_LINK)
    yield dict(name="slow-link", wave=5, text=text, max_tokens=8, expected=codes[NAMES[13]], options=slow_link("1e6"))


def main(kind, out):
    os.makedirs(out, exist_ok=True)
    with open(f"{out}/prompts.jsonl", "w", encoding="utf-8") as lines:
        for prompt in {"smollm2": smollm2, "tiny": tiny}[kind]():
            text = prompt.pop("text")
            prompt.setdefault("options", COMPRESSED)
            prompt["file"] = f"{out}/{prompt['name']}.txt"
            with open(prompt["file"], "w", encoding="utf-8") as f:
                f.write(text)
            lines.write(json.dumps(prompt) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("smollm2", "tiny"):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
