"""Greedy continuations of SmolLM2 in f32, with the margin between the two best logits of every step."""
import json

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

NEW_TOKENS = 48


def chat(question):
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


PROMPTS = [
    chat("What is the capital of France?"),
    chat("Name three animals that live in the sea."),
    chat("Write one sentence about the moon."),
    chat("How many days does a week have?"),
    "The quick brown fox",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n    ",
    "Water boils at 100 degrees Celsius, which is",
    "1, 2, 3, 4, 5, 6,",
    "List of colours:\n- red\n- green\n-",
]


@torch.no_grad()
def continuation(model, prompt_ids, end):
    ids, margins = [], []
    step, past = torch.tensor([prompt_ids]), None
    while len(ids) < NEW_TOKENS and end not in ids:
        out = model(step, past_key_values=past, use_cache=True)
        past = out.past_key_values
        best = out.logits[0, -1].topk(2)
        ids.append(best.indices[0].item())
        margins.append(round((best.values[0] - best.values[1]).item(), 4))
        step = best.indices[:1][None]
    return ids, margins


def make(path, folder):
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with open(f"{folder}/generation_config.json") as file:
        end = json.load(file)["eos_token_id"]
    records = []
    for prompt in PROMPTS:
        prompt_ids = tokenizer.encode(prompt).ids
        ids, margins = continuation(model, prompt_ids, end)
        text = tokenizer.decode(ids)
        records.append({"prompt": prompt, "prompt_ids": prompt_ids, "ids": ids, "margins": margins, "text": text})
        print(f"{prompt!r} -> {text!r}, least margin {min(margins)}")
    with open(path, "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(r) for r in records) + "\n]\n")
