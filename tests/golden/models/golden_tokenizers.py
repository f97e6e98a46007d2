"""One small tokenizer of each kind that occurs in practice, and what the reference makes of golden_texts.TEXTS."""
import json
import os

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from golden_texts import TEXTS, TRAINING

# The published split patterns of the Llama 3 and Qwen2 tokenizers: they are data of those models, and the point here.
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
POSSESSIVE = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
              r"|\s*[\r\n]|\s+(?!\S)|\s+")
BYTES = pre_tokenizers.ByteLevel.alphabet()

# Every flag of an added token, in tokens that golden_texts puts into odd places.
ADDED = [
    AddedToken("<|im_start|>", special=True, normalized=False),
    AddedToken("<|im_end|>", special=True, normalized=False),
    AddedToken("<mask>", special=True, normalized=False, lstrip=True),
    AddedToken("[TAIL]", special=False, normalized=False, rstrip=True),
    AddedToken("word", special=False, normalized=False, single_word=True),
    AddedToken("<a>", special=False, normalized=True),
    AddedToken("<a>b", special=False, normalized=True, lstrip=True, rstrip=True),
    AddedToken("caf\u00e9token", special=False, normalized=True),
]


def trained(vocab_size, pre_tokenizer, specials, alphabet, normalizer=None, **options):
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=specials, initial_alphabet=alphabet,
                                  show_progress=False)
    tokenizer.train_from_iterator(TRAINING.splitlines(keepends=True), trainer)
    return tokenizer


def rewritten(tokenizer, change):
    if change is None:
        return tokenizer
    content = json.loads(tokenizer.to_str())
    change(content)
    return Tokenizer.from_str(json.dumps(content))


def gpt2_digits():
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer = trained(600, pre_tokenizers.Sequence(steps), ["<|endoftext|>"], BYTES)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def gpt2_prefix_space():
    tokenizer = trained(500, pre_tokenizers.ByteLevel(add_prefix_space=True), ["<|endoftext|>"], BYTES)
    tokenizer.decoder = decoders.ByteLevel()
    template = {"single": "$A <|endoftext|>", "special_tokens": [("<|endoftext|>", 0)]}
    tokenizer.post_processor = processors.TemplateProcessing(**template)
    return tokenizer


def split_then_bytes(pattern):
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def llama3():
    tokenizer = trained(700, split_then_bytes(LLAMA3), ["<|begin_of_text|>", "<|eot_id|>"], BYTES)
    tokenizer.decoder = decoders.ByteLevel()
    begin = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), begin])
    return tokenizer


def words_without_merges(content):
    """Leaves every third merged token in the vocabulary but out of reach of the merges, as ignore_merges is for."""
    model = content["model"]
    model["ignore_merges"] = True
    parts = {token for pair in model["merges"] for token in pair}
    model["merges"] = [p for i, p in enumerate(model["merges"]) if i % 3 or "".join(p) in parts]


def qwen2():
    tokenizer = trained(700, split_then_bytes(QWEN2), ["<|endoftext|>"], BYTES, normalizer=normalizers.NFC())
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def possessive():
    tokenizer = trained(550, split_then_bytes(POSSESSIVE), ["<|endoftext|>"], BYTES)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]


def sentence_pieces():
    """BPE over characters with the space written as U+2581 and unknown characters as bytes."""
    pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    specials = ["<unk>", "<s>", "</s>", *BYTE_TOKENS]
    return trained(800, pre_tokenizer, specials, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True)


def bytes_are_no_added_tokens(content):
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] not in BYTE_TOKENS]
    # Few of the page's rare characters keep a token, so that the byte fallback has work.
    keep = {t for pair in content["model"]["merges"] for t in pair} | set(BYTE_TOKENS) | {"<unk>", "<s>", "</s>"}
    added = {t["content"] for t in content["added_tokens"]}
    merged = {"".join(pair) for pair in content["model"]["merges"]}
    vocab = content["model"]["vocab"]
    kept = [t for t in sorted(vocab, key=vocab.get) if t in keep or t in added or t in merged or ord(t[0]) < 128]
    content["model"]["vocab"] = {t: i for i, t in enumerate(kept)}


def llama2():
    tokenizer = sentence_pieces()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def no_pre_tokenizer(content):
    content["pre_tokenizer"] = None
    bytes_are_no_added_tokens(content)


def metaspace_first():
    tokenizer = sentence_pieces()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>",
                                                             special_tokens=[("<s>", 1), ("</s>", 2)])
    return tokenizer


def metaspace_unknown():
    """No byte tokens: what has no token is unknown, one for each character."""
    pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer = trained(400, pre_tokenizer, ["<unk>"], [], unk_token="<unk>")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return tokenizer


def whitespace_words():
    """The plain cutters: words, punctuation, runs of digits, no decoder."""
    steps = [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation(behavior="merged_with_previous"),
             pre_tokenizers.Digits(individual_digits=False)]
    tokenizer = trained(350, pre_tokenizers.Sequence(steps), ["<unk>"], [], unk_token="<unk>", fuse_unk=True,
                        normalizer=normalizers.NFKD())
    return tokenizer


KINDS = {
    "gpt2_digits": (gpt2_digits, None),
    "gpt2_prefix_space": (gpt2_prefix_space, None),
    "llama3": (llama3, words_without_merges),
    "qwen2": (qwen2, None),
    "possessive": (possessive, None),
    "llama2": (llama2, no_pre_tokenizer),
    "metaspace_first": (metaspace_first, bytes_are_no_added_tokens),
    "metaspace_unknown": (metaspace_unknown, None),
    "whitespace_words": (whitespace_words, None),
}

# Older files write a merge as "a b".
OLD_MERGE_SPELLING = {"gpt2_digits", "llama2"}


def golden(folder, tokenizer):
    os.makedirs(folder, exist_ok=True)
    records = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        records.append({
            "ids": ids,
            "decoded": tokenizer.decode(ids, skip_special_tokens=False),
            "skipped": tokenizer.decode(ids, skip_special_tokens=True),
        })
    with open(f"{folder}/golden.json", "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(r) for r in records) + "\n]\n")
    print(f"{folder}: {sum(len(r['ids']) for r in records)} ids of {len(TEXTS)} texts")


def make(root, at_hand):
    os.makedirs(root, exist_ok=True)
    with open(f"{root}/texts.json", "w") as file:
        json.dump(TEXTS, file, indent=0)
    for kind, (build, change) in KINDS.items():
        os.makedirs(f"{root}/{kind}", exist_ok=True)
        tokenizer = rewritten(build(), change)
        tokenizer.add_tokens(ADDED)
        content = json.loads(tokenizer.to_str())
        if kind in OLD_MERGE_SPELLING:
            content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
        with open(f"{root}/{kind}/tokenizer.json", "w") as file:
            json.dump(content, file, ensure_ascii=False, separators=(",", ":"))
        golden(f"{root}/{kind}", Tokenizer.from_file(f"{root}/{kind}/tokenizer.json"))
    for name, folder in at_hand.items():
        golden(f"{root}/{name}", Tokenizer.from_file(f"{folder}/tokenizer.json"))
