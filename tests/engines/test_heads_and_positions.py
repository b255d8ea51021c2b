"""What config.json says of the head, of biases and of positions, and what the weights and transformers make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servewatt.engines import Session
from servewatt.errors import InputError, RefusedError
from servewatt.records import Configuration, Model
from tests.engines.libraries import each_of
from tests.engines.tiny import SIZES, model_of, random_prompts, session_generate, transformers_generate, write_model

pytestmark = pytest.mark.engine

Load = Callable[[Model, Configuration], Session]
ALL = (
    *("torch", "torchscript", "torch-graph", "onnx", "openvino"),
    *("ctranslate2", "llama-cpp", "onnxruntime-genai", "openvino-genai"),
)
HEADS = {"gpt_neox": "embed_out.weight"}
PROMPTS, NEW_TOKENS = random_prompts(4), 24


def with_head(folder: Path, kind: str, *, stated: bool | None, other: bool, **changes: Any) -> Path:
    """A model whose config.json states whether the head is tied, with a stored one that is another or the same."""
    import torch
    from safetensors.torch import load_file, save_file

    write_model(folder, kind, tie_word_embeddings=True, **changes)
    weights = load_file(folder / "model.safetensors")
    ends = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
    head = next(tensor for name, tensor in weights.items() if name.endswith(ends)).clone()
    if other:
        head = torch.randn(head.shape, generator=torch.Generator().manual_seed(3)) * 0.3
    save_file({**weights, HEADS.get(kind, "lm_head.weight"): head}, folder / "model.safetensors", {"format": "pt"})
    return stating(folder, tie_word_embeddings=stated)


def stating(folder: Path, **fields: Any) -> Path:
    """`folder` with those fields in its config.json; None takes one out."""
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({name: v for name, v in config.items() if v is not None}))
    return folder


def check(engine: str, folder: Path, load: Load, refused: str = "") -> None:
    """That `engine` says what transformers says, or refuses for the reason `refused`."""
    configuration = Configuration(engine, threads=1)
    if refused:
        with pytest.raises(RefusedError, match=refused):
            load(model_of(folder), configuration)
        return
    session = load(model_of(folder), configuration)
    got = session_generate(session, PROMPTS, NEW_TOKENS, 4)
    session.close()
    assert got == transformers_generate(folder, PROMPTS, NEW_TOKENS, 4)


def refusal(engine: str, kind: str) -> str:
    """Why an engine does not run an architecture, or not with a head of its own; empty if it does."""
    if engine == "llama-cpp" and kind == "gemma":
        return "no output projection of its own"
    if engine == "onnxruntime-genai" and kind not in ("llama", "gemma", "phi"):
        return "does not build"
    return "not one operator" if engine == "openvino-genai" and kind == "bloom" else ""


@pytest.mark.parametrize("kind", list(SIZES))
@pytest.mark.parametrize("engine", each_of(*ALL))
def test_a_stored_head_is_the_head_though_the_configuration_ties_it(
    engine: str, kind: str, tmp_path: Path, load: Load
) -> None:
    whole = {"partial_rotary_factor": 1.0} if kind == "phi" else {}
    folder = with_head(tmp_path / "model", kind, stated=True, other=True, **whole)
    check(engine, folder, load, refusal(engine, kind))


@pytest.mark.parametrize(("stated", "other"), [(None, True), (True, False), (False, False)])
@pytest.mark.parametrize("engine", each_of(*ALL))
def test_a_stored_head_is_judged_by_its_content(
    engine: str, stated: bool | None, other: bool, tmp_path: Path, load: Load
) -> None:
    check(engine, with_head(tmp_path / "model", "llama", stated=stated, other=other), load)


@pytest.mark.parametrize("engine", each_of(*ALL))
def test_a_head_that_is_neither_tied_nor_stored_is_missing(engine: str, tmp_path: Path, load: Load) -> None:
    folder = stating(write_model(tmp_path / "model", "llama", tie_word_embeddings=True), tie_word_embeddings=False)
    with pytest.raises(InputError, match=r"lm_head"):
        load(model_of(folder), Configuration(engine, threads=1))


@pytest.mark.parametrize("engine", each_of(*ALL))
def test_a_tied_head_may_have_a_bias(engine: str, tmp_path: Path, load: Load) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_model(tmp_path / "model", "phi", tie_word_embeddings=True, partial_rotary_factor=1.0)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.bias"][7] = 30
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    check(engine, folder, load)


ROPES: dict[str, dict[str, Any]] = {
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16},
    "llama3": {
        **{"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "original_max_position_embeddings": 16,
    },
    "longrope": {
        **{"factor": 4.0, "original_max_position_embeddings": 16},
        **{"short_factor": [1.0] * 8, "long_factor": [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]},
    },
}
GRAPHS = {"torchscript", "onnx", "openvino", "openvino-genai"}
COMPUTED = {
    "linear": {"torch", "torch-graph", *GRAPHS, "ctranslate2", "llama-cpp"},
    "dynamic": {"torch"},
    "yarn": {"torch", "torch-graph", *GRAPHS, "llama-cpp"},
    "llama3": {"torch", "torch-graph", *GRAPHS, "onnxruntime-genai", "llama-cpp"},
    "longrope": {"torch", "torch-graph"},
}
"""Engines that compute each type of rotary embedding."""


@pytest.mark.parametrize("rope", list(ROPES))
@pytest.mark.parametrize("engine", each_of(*ALL))
def test_scaled_rotary_embeddings_are_computed_or_refused(engine: str, rope: str, tmp_path: Path, load: Load) -> None:
    folder = write_model(tmp_path / "model", "llama", max_position_embeddings=32 if rope == "dynamic" else 64)
    # As older files have it; where both are given, this is what transformers reads.
    stating(folder, rope_scaling={"type": rope, **ROPES[rope]})
    if (engine, rope) == ("torch-graph", "dynamic"):
        with pytest.raises(InputError, match="exceed the model's context of 32"):
            check(engine, folder, load)
    else:
        check(engine, folder, load, "" if engine in COMPUTED[rope] else f"'{rope}'")


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("starcoder2", {"use_bias": True}),
        ("mistral", {}),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}),
    ],
)
@pytest.mark.parametrize("engine", each_of(*ALL))
def test_sliding_windows_are_computed_or_refused(
    engine: str, kind: str, changes: dict[str, Any], tmp_path: Path, load: Load
) -> None:
    folder = write_model(
        tmp_path / "model",
        kind,
        **{"num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 256, "sliding_window": 8},
        **changes,
    )
    if engine == "llama-cpp":
        with pytest.raises(InputError, match=r"beyond 8 llama\.cpp has neither the model's sliding window"):
            check(engine, folder, load)
    else:
        reason = "sliding window of 8 tokens" if engine == "ctranslate2" or kind == "qwen2" else "ForCausalLM"
        check(engine, folder, load, "" if engine in {"torch", "torch-graph", *GRAPHS} else reason)
