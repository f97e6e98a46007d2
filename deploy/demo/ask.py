#!/usr/bin/env python3
"""Asks the demo's prompts through `decant generate`, with compression and in full precision, and prints what each cost.

  ask.py --decant BINARY --router HOST:PORT --prompts FILE.jsonl [--json FILE]

Exits 1 when a request failed or compression did not hold what it promises. Compression runs first, so that what it finds in the pool is what it stored itself.
"""
import argparse
import json
import subprocess
import sys
import threading

FIELDS = ("high", "low", "pruned", "demoted")
LONG_TOKENS = 1000  # from here on a prompt's KV must shrink by LONG_RATIO
LONG_RATIO = 2.7


def generate(args, prompt, extra, echo):
    """One `decant generate`: echo(piece) as text comes; returns its JSON object."""
    command = [args.decant, "generate", "--router", args.router, "--prompt-file", prompt["file"], "--max-tokens", str(prompt["max_tokens"]), "--json", *extra]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    held = b""  # a line that begins with a brace may be the JSON object, which is the last line
    fresh = True
    while chunk := process.stdout.read1(4096):
        for piece in chunk.splitlines(keepends=True):
            if fresh and held:
                echo(held.decode(errors="replace"))
                held = b""
            if held or (fresh and piece.startswith(b"{")):
                held += piece
            else:
                echo(piece.decode(errors="replace"))
            fresh = piece.endswith(b"\n")
    error = process.stderr.read().decode(errors="replace").strip()
    if process.wait() != 0:
        raise RuntimeError(f"{prompt['name']}: {error}")
    return json.loads(held)


def wave(args, prompts, extra, show):
    """The prompts of one wave at once; a single one is shown as it is produced, several when each ends."""
    results, lock = {}, threading.Lock()

    def ask(prompt):
        pieces = []
        echo = (lambda piece: print(piece, end="", flush=True)) if show and len(prompts) == 1 else pieces.append
        try:
            result = generate(args, prompt, extra(prompt), echo)
        except (RuntimeError, ValueError, OSError) as error:
            result = {"error": str(error)}
        with lock:
            results[prompt["name"]] = result
            if show and len(prompts) > 1:
                print(f"  [{prompt['name']}] {''.join(pieces).strip()}", flush=True)

    threads = [threading.Thread(target=ask, args=(p,)) for p in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def run(args, prompts, extra, show):
    results = {}
    for number in sorted({p["wave"] for p in prompts}):
        members = [p for p in prompts if p["wave"] == number]
        if show:
            print(f"\n-- {', '.join(p['name'] for p in members)}", flush=True)
        results.update(wave(args, members, extra, show))
        if show and len(members) == 1:
            print()
    return results


def right(prompt, result):
    if prompt["expected"] is None or "error" in result:
        return None
    return prompt["expected"].lower() in result["text"].lower()


def word(value):
    return "-" if value is None else "right" if value else "WRONG"


def rate(result):
    rest = (result["total_ms"] - result["ttft_ms"]) / 1000
    return (len(result["tokens"]) - 1) / rest if len(result["tokens"]) > 1 and rest > 0 else None


def size(count):
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def print_table(header, rows):
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(str(cell).rjust(width) if i else str(cell).ljust(width) for i, (cell, width) in enumerate(zip(row, widths))))


def shortcomings(table, totals):
    """What a demo of compression must not show."""
    found = [f"no token was {field}" for field, count in totals.items() if count == 0]
    for entry in table:
        ratio = entry["kv_bytes_full"] / entry["kv_bytes_resident"]
        if entry["prompt_tokens"] >= LONG_TOKENS and ratio < LONG_RATIO and entry["profile"] != "full":
            found.append(f"{entry['name']}: {ratio:.2f} times smaller resident, less than {LONG_RATIO}")
        if entry["right"] is False and entry["right_full"]:
            found.append(f"{entry['name']}: right in full precision, wrong compressed")
    if not any(entry["prefix_tokens_reused"] for entry in table):
        found.append("no prefix came from the pool")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decant", required=True)
    parser.add_argument("--router", required=True)
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--json")
    args = parser.parse_args()
    with open(args.prompts, encoding="utf-8") as f:
        prompts = [json.loads(line) for line in f]

    print("\n== answers over compressed KV")
    compressed = run(args, prompts, lambda prompt: prompt["options"], show=True)
    print("\n== the same in full precision", flush=True)
    full = run(args, prompts, lambda prompt: ["--floor", "1"], show=False)

    failed = [r["error"] for r in [*compressed.values(), *full.values()] if "error" in r]
    rows, costs, table = [], [], []
    for prompt in prompts:
        c, f = compressed[prompt["name"]], full[prompt["name"]]
        if "error" in c or "error" in f:
            continue
        speed = rate(c)
        rows.append([prompt["name"], c["prompt_tokens"], len(c["tokens"]), c["profile"], c["prefix_tokens_reused"], f"{c['ttft_ms']:.0f} ms",
                     "-" if speed is None else f"{speed:.1f}", word(right(prompt, f)), word(right(prompt, c))])
        costs.append([prompt["name"], size(c["kv_bytes_full"]), size(c["kv_bytes_wire"]), size(c["kv_bytes_resident"]),
                      f"{c['kv_bytes_full'] / c['kv_bytes_resident']:.2f}x", *(c[field] for field in FIELDS)])
        table.append({**c, "expected": prompt["expected"], "right": right(prompt, c), **{field: c[field] for field in FIELDS},
                      "name": prompt["name"], "right_full": right(prompt, f), "text_full": f["text"]})
    print()
    print_table(["request", "prompt", "output", "profile", "from pool", "TTFT", "tokens/s", "full precision", "compressed"], rows)
    print("\nKV of each request, counted over all layers and heads; ratio = full / resident pages")
    print_table(["request", "full", "wire", "resident", "ratio", *FIELDS], costs)
    print("\nwhy these profiles")
    for entry in table:
        print(f"  {entry['name']}: {entry['profile']}: {entry['reason']}")
    totals = {field: sum(entry[field] for entry in table) for field in FIELDS}
    print("\nover the demo: " + ", ".join(f"{totals[field]} {field}" for field in FIELDS))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(table, f, indent=1)
    failed += shortcomings(table, totals)
    for error in failed:
        print(f"FAILED {error}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
