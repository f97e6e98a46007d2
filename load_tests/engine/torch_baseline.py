"""What transformers (PyTorch) does with the same model folder on the same threads: the baseline of load test `engine`.

Prints one JSON object with the rates of every round. Needs torch and transformers, for instance in a virtual environment;
the attention implementation and versions are part of the output, because a comparison without them says nothing.
"""

import argparse
import json
import sys
import time

import torch
import transformers


def rates(count, rounds, run, warm=True):
    if warm:
        run()
    out = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        out.append(count / (time.perf_counter() - begin))
    return out


@torch.inference_mode()
def prefill(model, tokens, rounds, warm=True):
    ids = torch.randint(0, model.config.vocab_size, (1, tokens), generator=torch.Generator().manual_seed(1))
    return rates(tokens, rounds, lambda: model(ids, use_cache=True, logits_to_keep=1).logits[0, -1].argmax().item(), warm)


@torch.inference_mode()
def decode(model, batch, context, steps, rounds, warm=True):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, model.config.vocab_size, (batch, context), generator=generator)

    def run():
        cache = model(ids, use_cache=True, logits_to_keep=1).past_key_values
        token = ids[:, -1:]
        begin = time.perf_counter()
        for _ in range(steps):
            out = model(token, past_key_values=cache, use_cache=True)
            token = out.logits[:, -1:].argmax(-1)
        return batch * steps / (time.perf_counter() - begin)

    if warm:
        run()
    return [run() for _ in range(rounds)]


def serve(model, options):
    """Answers one rate per line of input: "prefill TOKENS" or "decode BATCH CONTEXT STEPS"."""
    print(f"torch-{torch.__version__}-transformers-{transformers.__version__}-{options.dtype}-{options.attention}", flush=True)
    warm = set()
    for line in sys.stdin:
        what, *sizes = line.split()
        sizes = [int(size) for size in sizes]
        run = prefill if what == "prefill" else decode
        rate = run(model, *sizes, 1, warm=line not in warm)[0]
        warm.add(line)
        print(rate, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=2048, help="length of the prefill")
    parser.add_argument("--context", type=int, default=512, help="tokens before decoding")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    parser.add_argument("--what", nargs="+", default=["prefill", "decode"], choices=["prefill", "decode"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--serve", action="store_true", help="measure what standard input asks for, one round each")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        options.model, dtype=getattr(torch, options.dtype), attn_implementation=options.attention)
    model.eval()
    if options.serve:
        return serve(model, options)
    result = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": options.dtype,
        "attention": options.attention,
        "threads": options.threads,
        "tokens": options.tokens,
    }
    if "prefill" in options.what:
        result["prefill_tokens_per_second"] = prefill(model, options.tokens, options.rounds)
    if "decode" in options.what:
        result["context"] = options.context
        result["decode_tokens_per_second"] = {
            str(batch): decode(model, batch, options.context, options.steps, options.rounds)
            for batch in options.batches
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
