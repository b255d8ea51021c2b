"""Tiny model folders made on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

VOCABULARY, HIDDEN, INNER, LAYERS, HEADS = 300, 8, 16, 2, 2

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 0,
    "eos_token_id": 0,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "max_position_embeddings": 32,
    "model_type": "llama",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": HEADS,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "vocab_size": VOCABULARY,
}
# embedding, final norm, and a layer of four attention matrices, three of the feed-forward network and two norms
PARAMETERS = VOCABULARY * HIDDEN + HIDDEN + LAYERS * (4 * HIDDEN**2 + 3 * HIDDEN * INNER + 2 * HIDDEN)


def llama_tensors() -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """The tensors of `LLAMA`, tied, in fp32."""
    generator = np.random.default_rng(0)
    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}"
        shapes |= {f"{stem}.self_attn.{name}_proj.weight": (HIDDEN, HIDDEN) for name in "qkvo"}
        shapes |= {f"{stem}.mlp.{name}_proj.weight": (INNER, HIDDEN) for name in ("gate", "up")}
        shapes[f"{stem}.mlp.down_proj.weight"] = (HIDDEN, INNER)
        shapes |= {f"{stem}.{name}_layernorm.weight": (HIDDEN,) for name in ("input", "post_attention")}
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def write_llama(folder: Path, *, tokenizer: bool = True, **changes: object) -> Path:
    """A whole model folder; `changes` replace entries of its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**LLAMA, **changes}))
    save_file(llama_tensors(), folder / "model.safetensors")
    if tokenizer:
        write_tokenizer(folder / "tokenizer.json")
    return folder


def write_tokenizer(file: Path, *, bos: bool = False) -> None:
    """A byte-level tokenizer of 256 bytes and `<s>`, id 256."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors

    alphabet = {symbol: number for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = tokenizers.Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<s>"])
    if bos:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    inner.save(str(file))
