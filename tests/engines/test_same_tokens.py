"""Every engine says, token for token, what transformers' own `generate` says.

torch-graph, with its ways of cutting steps, and llama-cpp, whose activations are rounded, have tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from servewatt.engines import Session
from servewatt.engines.proof import violations
from servewatt.records import Configuration, Model
from tests.engines.libraries import each_of
from tests.engines.tiny import (
    SIZES,
    model_of,
    random_prompts,
    session_generate,
    transformers_generate,
    write_model,
)

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("engine", each_of("torch", "torchscript", "onnx", "openvino", "ctranslate2"))
@pytest.mark.parametrize("kind", [*SIZES, "bundled"])
def test_same_tokens_as_transformers(
    engine: str,
    kind: str,
    folder_of: Callable[[str], Path],
    check_tokens: Callable[[Session, str], None],
    load: Callable[[Model, Configuration], Session],
) -> None:
    session = load(model_of(folder_of(kind)), Configuration(engine, threads=1))
    check_tokens(session, kind)
    session.close()


OWN_ATTENTION = {
    "gpt_neo": {
        "attention_types": [[["global", "local"], 1]],
        "num_layers": 2,
        "num_heads": 4,
        "window_size": 16,
        "max_position_embeddings": 256,
    },
    "gptj": {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8, "n_positions": 256},
}
"""Architectures whose modelling code looks attention up in a table of its own classes."""


@pytest.mark.parametrize("engine", ["torchscript", "onnx", "openvino"])
@pytest.mark.parametrize("kind", OWN_ATTENTION)
def test_architectures_with_attention_classes_of_their_own(
    engine: str,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    load: Callable[[Model, Configuration], Session],
) -> None:
    monkeypatch.setitem(SIZES, kind, OWN_ATTENTION[kind])
    folder = write_model(tmp_path / kind, kind, bos_token_id=1, eos_token_id=1)
    asked = Configuration(engine, threads=1)
    session = load(model_of(folder), asked)
    prompts = random_prompts(4)
    assert session_generate(session, prompts, 24, 4) == transformers_generate(folder, prompts, 24, 4)
    assert violations(asked, session.facts()) == ()
    session.close()


def test_the_reference_is_varied(expected: Callable[[str, int], list[list[int]]]) -> None:
    """Equal tokens would mean little if the models said the same thing over and over."""
    for kind in SIZES:
        assert len({token for row in expected(kind, 1) for token in row}) > 50


@pytest.mark.parametrize("engine", each_of("torch", "torchscript", "onnx", "openvino", "ctranslate2", "llama-cpp"))
def test_generation_ends_when_every_row_has_stopped(
    engine: str,
    model: Model,
    check_stops: Callable[[Session], None],
    load: Callable[[Model, Configuration], Session],
) -> None:
    session = load(model, Configuration(engine, threads=1))
    check_stops(session)
    session.close()
