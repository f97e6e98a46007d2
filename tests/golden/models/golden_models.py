"""One tiny model with random weights for each architecture variant, and the reference's f32 logits."""
import json
import os

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY = 128
GOLDEN_TOKENS = 40
END = 2

# Both spellings of rope settings occur in real folders, so both occur here.
LLAMA3 = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
VARIANTS = {
    # name: (stored type, shards, config fields over the defaults)
    "llama": (torch.float32, 1, {"hidden_size": 24, "rope_theta": 10000.0}),
    "llama_llama3": (torch.bfloat16, 1, {
        "tie_word_embeddings": True,
        "rope_theta": 500.0,
        "rope_scaling": {"rope_type": "llama3", **LLAMA3},
        "generation_end": [2, 5],
    }),
    "llama_linear": (torch.float16, 1, {
        "attention_bias": True,
        "rope_theta": 1000.0,
        "rope_scaling": {"type": "linear", "factor": 2.5},
    }),
    "mistral": (torch.float16, 2, {
        "architecture": "MistralForCausalLM",
        "sliding_window": None,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }),
    "qwen2": (torch.bfloat16, 1, {
        "architecture": "Qwen2ForCausalLM",
        "head_dim": None,
        "hidden_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "sliding_window": 16,
        "use_sliding_window": False,
        "max_window_layers": 2,
        "tie_word_embeddings": True,
        "rope_theta": 1000000.0,
    }),
    "qwen2_yarn": (torch.bfloat16, 1, {
        "architecture": "Qwen2ForCausalLM",
        "rope_theta": 10000.0,
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    }),
    "qwen3": (torch.bfloat16, 1, {
        "architecture": "Qwen3ForCausalLM",
        "head_dim": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    }),
    "qwen3_yarn": (torch.float16, 1, {
        "architecture": "Qwen3ForCausalLM",
        "head_dim": 64,
        "hidden_size": 32,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 5000.0,
            "factor": 2.0,
            "original_max_position_embeddings": 32,
            "beta_fast": 4.0,
            "beta_slow": 1.0,
            "truncate": False,
            "attention_factor": 1.25,
        },
    }),
}


def config_of(stored_type, fields):
    fields = dict(fields)
    architecture = fields.pop("architecture", "LlamaForCausalLM")
    generation_end = fields.pop("generation_end", END)
    config = {
        "architectures": [architecture],
        "model_type": architecture.removesuffix("ForCausalLM").lower(),
        "hidden_size": 40,
        "intermediate_size": 56,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": str(stored_type).removeprefix("torch."),
        "bos_token_id": 1,
        "eos_token_id": END,
        **fields,
    }
    return {key: value for key, value in config.items() if value is not None or key == "sliding_window"}, generation_end


def random_weights(model, stored_type, generator):
    """Weights that keep every activation near one and attention sharp enough for positions to matter."""
    weights = {}
    for name, old in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        noise = torch.randn(old.shape, generator=generator)
        if "norm" in name:
            value = 1 + 0.2 * noise
        elif name.endswith(".bias"):
            value = 0.5 * noise
        elif "embed_tokens" in name:
            value = noise
        else:
            value = noise * (1.5 if "q_proj" in name or "k_proj" in name else 1.0) / old.shape[1] ** 0.5
        weights[name] = value.to(stored_type)
    return weights


def save_weights(folder, weights, shards):
    if shards == 1:
        save_file(weights, f"{folder}/model.safetensors", metadata={"format": "pt"})
        return
    names, weight_map = list(weights), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard * len(names) // shards:(shard + 1) * len(names) // shards]
        save_file({n: weights[n] for n in part}, f"{folder}/{file}", metadata={"format": "pt"})
        weight_map.update({n: file for n in part})
    total = sum(w.numel() * w.element_size() for w in weights.values())
    dump(f"{folder}/model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def small_tokenizer():
    """Byte-level BPE over printable ASCII: what 128 ids have room for. Other bytes have no token and vanish."""
    symbols = ["Ġ", "Ċ"] + [chr(c) for c in range(33, 127)]
    words = ["he", "in", "an", "Ġt", "Ġthe", "er", "on", "Ġa", "Ġs", "re", "at", "Ġof", "Ġw", "ed", "nd", "ing", "Ġand"]
    splits = {"Ġthe": ("Ġt", "he"), "ing": ("in", "g"), "Ġand": ("Ġa", "nd"), "Ġof": ("Ġ", "of")}
    words.insert(words.index("Ġof"), "of")
    vocab = {t: i for i, t in enumerate(["<pad>", "<bos>", "<eos>"] + symbols + words)}
    merges = [splits.get(w, (w[0], w[1:])) for w in words]
    assert len(vocab) <= VOCABULARY
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<bos>", "<eos>"])
    return tokenizer


def dump(path, content):
    with open(path, "w") as file:
        json.dump(content, file, indent=1)


def check_that_scaling_matters(model, ids, logits):
    """A golden that a reader without rope scaling would pass is worth nothing: parity asks for 1e-3."""
    rope = model.model.rotary_emb
    scaled, magnitude = rope.inv_freq.clone(), rope.attention_scaling
    half, theta = scaled.numel(), model.config.rope_parameters["rope_theta"]
    for inverse_frequencies, factor in ((theta ** (-torch.arange(half) / half), magnitude), (scaled, 1.0)):
        same = torch.allclose(inverse_frequencies, scaled, rtol=1e-5) and factor == magnitude
        rope.inv_freq.copy_(inverse_frequencies)
        rope.attention_scaling = factor
        change = (model(ids[None]).logits[0] - logits).abs().max() / logits.abs().max()
        assert same or change > 0.02, f"with plain rope the logits change by {change} only"
    rope.inv_freq.copy_(scaled)
    rope.attention_scaling = magnitude


@torch.no_grad()
def make_one(folder, seed, stored_type, shards, fields):
    os.makedirs(f"{folder}/golden", exist_ok=True)
    config, generation_end = config_of(stored_type, fields)
    dump(f"{folder}/config.json", config)
    dump(f"{folder}/generation_config.json", {"bos_token_id": 1, "eos_token_id": generation_end})
    small_tokenizer().save(f"{folder}/tokenizer.json")

    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), attn_implementation="eager").float()
    weights = random_weights(model, stored_type, generator)
    save_weights(folder, weights, shards)

    # From the folder as it lies there, so that the golden covers the config as well.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.randint(3, VOCABULARY, (GOLDEN_TOKENS,), generator=generator)
    logits = model(ids[None]).logits[0].contiguous()
    check_that_scaling_matters(model, ids, logits)
    rope = model.model.rotary_emb
    save_file({
        "token_ids": ids.float(),
        "logits": logits,
        "inverse_frequencies": rope.inv_freq.float().contiguous(),
        "rope_magnitude": torch.tensor([rope.attention_scaling], dtype=torch.float32),
    }, f"{folder}/golden/model.safetensors")
    print(f"{folder}: max |logit| {logits.abs().max():.2f}, rope magnitude {rope.attention_scaling:.4f}")


def make(root):
    for seed, (name, (stored_type, shards, fields)) in enumerate(VARIANTS.items()):
        make_one(f"{root}/{name}", seed, stored_type, shards, fields)
