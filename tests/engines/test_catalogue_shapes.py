"""Each of the study's twelve models, cut in depth, width and vocabulary, says in every engine what transformers says.

Everything that decides the arithmetic stays as published: key-value heads to heads, share of rotary dimensions,
parallel residual, ALiBi, multi-query attention, activation, norms, biases, tied embeddings. Models that are then the
same share one folder, and so one export.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from servewatt.engines import Session
from servewatt.models.catalogue import CATALOGUE
from servewatt.records import Configuration, Model
from tests.engines.tiny import VOCABULARY, model_of, random_prompts, session_generate, transformers_generate

pytestmark = pytest.mark.engine

NEW_TOKENS = 12
MOST_HEADS = 16
PROMPTS = random_prompts(6, seed=3)
ENGINES = ("torch", "torchscript", "onnx", "openvino")


def cut(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with two layers, heads of 8 dimensions (Phi: 20), at most 16 of them, and few tokens."""
    small = {key: value for key, value in config.items() if key != "architectures"}
    heads_key = "n_head" if "n_head" in small else "num_attention_heads"
    width = "n_embd" if "n_embd" in small else "hidden_size"
    share = max(small[heads_key] // MOST_HEADS, 1)
    heads = small[heads_key] // share
    head = 8 if small["model_type"] != "phi" else 20  # 0.4 of it must be an even number of rotary dimensions
    for inner in ("n_inner", "intermediate_size"):
        if small.get(inner):
            small[inner] = small[inner] * heads * head // small[width]
    small |= {heads_key: heads, width: heads * head, "n_layer" if "n_layer" in small else "num_hidden_layers": 2}
    if "num_key_value_heads" in small:
        small["num_key_value_heads"] = max(small["num_key_value_heads"] // share, 1)
    if "head_dim" in small:
        small |= {"head_dim": head, width: 48}  # Gemma's head dimension is its own, not width over heads
    few: dict[str, Any] = {
        key: 256 for key in ("n_ctx", "n_positions", "max_position_embeddings", "seq_length") if key in small
    }
    tokens = {key: 0 for key in small if key.endswith("_token_id")}
    return {**small, **few, **tokens, "vocab_size": VOCABULARY, "initializer_range": 0.3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a cut model."""
    root = tmp_path_factory.mktemp("cut")

    @cache
    def write(text: str) -> Path:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        config = json.loads(text)
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config.pop("model_type"), **config))
        path = root / str(len(list(root.iterdir())))
        model.save_pretrained(path)
        return path

    return lambda name: write(json.dumps(cut(CATALOGUE[name].config), sort_keys=True))


@pytest.fixture(scope="module")
def reference(folder: Callable[[str], Path]) -> Callable[[str, int], list[list[int]]]:
    """transformers' own output at a batch size."""
    generate = cache(lambda path, batch: transformers_generate(path, PROMPTS, NEW_TOKENS, batch))
    return lambda name, batch: generate(folder(name), batch)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CATALOGUE)
def test_same_tokens_as_transformers(
    name: str,
    engine: str,
    folder: Callable[[str], Path],
    reference: Callable[[str, int], list[list[int]]],
    load: Callable[[Model, Configuration], Session],
) -> None:
    session = load(model_of(folder(name)), Configuration(engine, threads=1))
    for batch in (1, 3):
        assert session_generate(session, PROMPTS, NEW_TOKENS, batch) == reference(name, batch), f"batch {batch}"
    session.close()


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_reference_is_varied(name: str, reference: Callable[[str, int], list[list[int]]]) -> None:
    """Equal tokens would mean little if a model said the same thing over and over."""
    assert len({token for row in reference(name, 1) for token in row}) > 20


def test_the_cut_keeps_what_decides_the_arithmetic(folder: Callable[[str], Path]) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    def built(name: str) -> Any:
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder(name)))

    assert built("pythia-410m").gpt_neox.layers[0].use_parallel_residual
    assert built("pythia-410m").config.rope_parameters["partial_rotary_factor"] == 0.25
    assert built("phi2").config.rope_parameters["partial_rotary_factor"] == 0.4
    assert built("tinyllama").model.layers[0].self_attn.k_proj.weight.shape == (2 * 8, 16 * 8)
    assert built("codegemma-2b").model.layers[0].self_attn.q_proj.weight.shape == (8 * 8, 48)
    assert built("starcoderbase-1b").transformer.h[0].attn.c_attn.weight.shape == ((16 + 2) * 8, 16 * 8)
    assert built("codeparrot-small").config.scale_attn_by_inverse_layer_idx
    assert built("codeparrot-small").config.reorder_and_upcast_attn
    tied = {name for name in CATALOGUE if built(name).config.tie_word_embeddings}
    assert len({folder(name) for name in CATALOGUE}) == 8
    assert tied == {n for n in CATALOGUE if n.startswith(("code", "tiny-", "bloomz", "starcoder"))}
