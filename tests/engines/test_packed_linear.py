"""Packed layers appear only where weights are large, so these models are wider than the other tests'."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from servewatt.engines import Session
from servewatt.errors import RefusedError
from servewatt.records import Configuration, Model
from tests.engines.tiny import model_of, random_prompts, session_generate, transformers_generate, write_model

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox"])
def test_packed_layers_say_the_same(kind: str, tmp_path: Path, load: Callable[[Model, Configuration], Session]) -> None:
    # At width 320, each layer has weights of 0.3 million numbers and more (1.2 MB); gpt2's are stored transposed.
    folder = write_model(tmp_path / kind, kind, hidden_size=320, num_hidden_layers=2, initializer_range=0.1)
    prompts = random_prompts(4)
    for engine in ("torch", "torchscript"):
        session = load(model_of(folder), Configuration(engine, threads=1))
        for batch in (1, 4):
            got = session_generate(session, prompts, 24, batch)
            assert got == transformers_generate(folder, prompts, 24, batch)
        facts = session.facts()
        assert int(dict(facts.detail)["packed_linears"]) >= 5
        stored = (folder / "model.safetensors").stat().st_size
        # gpt2's output projection is tied to its embedding; packed, it is a second copy of 311 x 320 numbers.
        tied = 311 * 320 * 4 if kind == "gpt2" else 0
        assert 0.98 * (stored + tied) < dict(facts.weight_dtypes)["fp32"] < 1.02 * (stored + tied)
        session.close()


@pytest.mark.parametrize("engine", ["torch", "torchscript"])
def test_plain_layers_are_transformers_own(
    engine: str, tmp_path: Path, load: Callable[[Model, Configuration], Session]
) -> None:
    folder = write_model(tmp_path / "llama", "llama", hidden_size=320, initializer_range=0.1)
    plain = load(model_of(folder), Configuration(engine, threads=1, options=(("linear", "plain"),)))
    prompts = random_prompts(4)
    assert session_generate(plain, prompts, 24, 4) == transformers_generate(folder, prompts, 24, 4)
    detail = dict(plain.facts().detail)
    assert (detail["linear"], detail["packed_linears"]) == ("plain", "0")

    packed = load(model_of(folder), Configuration(engine, threads=1, options=(("linear", "packed"),)))
    assert dict(packed.facts().detail)["linear"] == "packed"


def test_packing_that_is_asked_for_and_cannot_be_is_refused(
    tmp_path: Path, load: Callable[[Model, Configuration], Session]
) -> None:
    narrow = write_model(tmp_path / "llama", "llama")
    with pytest.raises(RefusedError, match="no linear layer can be packed"):
        load(model_of(narrow), Configuration("torch", threads=1, options=(("linear", "packed"),)))
