"""On the CPU torch-graph packs floating matrices for oneDNN, if they are large: these models are wider than others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.engines import Session
from servewatt.engines.proof import violations
from servewatt.engines.torch_graph import engine as torch_graph_engine
from servewatt.engines.torch_graph.choices import Choices
from servewatt.errors import InputError, RefusedError
from servewatt.records import Configuration, Model, Precision, Provider
from tests.engines.tiny import (
    model_of,
    random_prompts,
    session_generate,
    transformers_generate,
    transformers_log_probabilities,
    write_model,
)

pytestmark = pytest.mark.engine

Load = Callable[[Model, Configuration], Session]
WIDE = {"hidden_size": 320, "initializer_range": 0.1}
PACKED, PLAIN = (("linear", "packed"),), (("linear", "plain"),)


def configuration(options: tuple[tuple[str, str], ...] = (), precision: Precision = Precision.FP32) -> Configuration:
    return Configuration("torch-graph", precision=precision, threads=1, options=options)


@pytest.mark.parametrize(
    ("kind", "packed", "again"),
    [
        # Two matrices a layer, and the output projection: 311 x 320 numbers, 398 kB.
        ("gpt_neox", 2 * 2 + 1, 0),
        # Four a layer. The embedding is kept beside the output projection that it is tied to: nothing can be looked up
        # in what is packed.
        ("gpt2", 2 * 4 + 1, 311 * 320 * 4),
        # Its second matrix of the feed-forward layer is 320 x 128 numbers, 164 kB: too small.
        ("llama", 2 * 3 + 1, 0),
    ],
)
def test_packed_matrices_say_the_same(kind: str, packed: int, again: int, tmp_path: Path, load: Load) -> None:
    folder = write_model(tmp_path / kind, kind, **WIDE)
    prompts = random_prompts(4)
    session = load(model_of(folder), configuration())
    for batch in (1, 4):
        assert session_generate(session, prompts, 24, batch) == transformers_generate(folder, prompts, 24, batch)
    for values, wanted in zip(
        session.log_probabilities(prompts), transformers_log_probabilities(folder, prompts), strict=True
    ):
        assert values == pytest.approx(wanted, abs=1e-3)
    facts = session.facts()
    assert violations(configuration(), facts) == ()
    assert dict(facts.detail)["linear"] == "packed"
    assert dict(facts.detail)["packed_linears"] == str(packed)
    stored = (folder / "model.safetensors").stat().st_size + again
    assert 0.98 * stored < dict(facts.weight_dtypes)["fp32"] <= stored
    session.close()


def test_plain_matrices_if_asked(tmp_path: Path, load: Load) -> None:
    folder = write_model(tmp_path / "gpt2", "gpt2", **WIDE)
    session = load(model_of(folder), configuration(PLAIN))
    prompts = random_prompts(4)
    assert session_generate(session, prompts, 24, 4) == transformers_generate(folder, prompts, 24, 4)
    facts = session.facts()
    assert (dict(facts.detail)["linear"], dict(facts.detail)["packed_linears"]) == ("plain", "0")
    assert dict(facts.weight_dtypes)["fp32"] <= (folder / "model.safetensors").stat().st_size
    session.close()


def test_packing_that_is_asked_for_and_cannot_be_is_refused(
    tmp_path: Path, model: Model, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RefusedError, match="no matrix can be packed"):
        load(model, configuration(PACKED))
    wide = model_of(write_model(tmp_path / "llama", "llama", **WIDE))
    assert dict(load(wide, configuration(PACKED)).facts().detail)["linear"] == "packed"
    # As on a processor without the instructions for bf16.
    monkeypatch.setattr(torch_graph_engine, "can_pack", lambda dtype: False)
    assert dict(load(wide, configuration()).facts().detail)["linear"] == "plain"
    with pytest.raises(RefusedError, match="no matrix can be packed"):
        load(wide, configuration(PACKED))


def test_what_is_packed_by_default_and_what_cannot_be() -> None:
    assert Choices.of(configuration()).linear == "packed"
    assert Choices.of(configuration(precision=Precision.BF16)).linear == "packed"
    compiled = (("compile", "default"),)
    for other in (
        configuration(compiled),
        configuration(precision=Precision.INT8),
        replace(configuration(), provider=Provider.CUDA),
    ):
        assert Choices.of(other).linear == "plain"
        assert Choices.of(replace(other, options=other.options + PLAIN)).linear == "plain"
        with pytest.raises(InputError, match="linear=packed is for floating weights on the CPU with compile=off"):
            Choices.of(replace(other, options=other.options + PACKED))
