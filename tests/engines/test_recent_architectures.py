"""Present-day architectures say, token for token, what transformers' own `generate` says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from servewatt import engines
from servewatt.engines import Session
from servewatt.engines.proof import violations
from servewatt.errors import InputError, RefusedError
from servewatt.records import Configuration, Model
from tests.engines.libraries import each_of
from tests.engines.recent import RECENT
from tests.engines.tiny import (
    model_of,
    random_prompts,
    session_generate,
    transformers_generate,
    transformers_log_probabilities,
    write_model,
)

pytestmark = pytest.mark.engine
NEW_TOKENS = 40
Load = Callable[[Model, Configuration], Session]


@pytest.fixture(scope="module")
def recent(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("recent")

    @cache
    def make(name: str) -> Path:
        kind, settings = RECENT[name]
        return write_model(root / name, kind, **settings)

    return make


@pytest.fixture(scope="module")
def reference(recent: Callable[[str], Path]) -> Callable[[str, int], list[list[int]]]:
    return cache(lambda name, batch: transformers_generate(recent(name), random_prompts(8), NEW_TOKENS, batch))


def check(session: Session, name: str, reference: Callable[[str, int], list[list[int]]]) -> None:
    for batch in (1, 4):
        got = session_generate(session, random_prompts(8), NEW_TOKENS, batch)
        assert got == reference(name, batch), f"batch {batch}"


@pytest.mark.parametrize("name", RECENT)
def test_torch_graph(
    name: str, recent: Callable[[str], Path], reference: Callable[[str, int], list[list[int]]], load: Load
) -> None:
    configuration = Configuration("torch-graph", threads=1)
    session = load(model_of(recent(name)), configuration)
    check(session, name, reference)
    assert violations(configuration, session.facts()) == ()
    rows = [[*random_prompts(1)[0], *reference(name, 1)[0]]]
    (ours,), (theirs,) = session.log_probabilities(rows), transformers_log_probabilities(recent(name), rows)
    assert ours == pytest.approx(theirs, abs=2e-3)
    session.close()


LLAMA_CPP_LACKS = {
    "llama-dynamic": "'dynamic'",
    "gemma3": "every 6th layer",
}
ROWS_WITHIN = {"qwen2-window", "mistral-window", "starcoder2-window", "phi3-longrope"}
"""Cases of which an engine computes rows up to a length, beyond which it says so."""


@pytest.mark.parametrize("engine", each_of("llama-cpp"))
@pytest.mark.parametrize("name", RECENT)
def test_llama_cpp(
    engine: str,
    name: str,
    recent: Callable[[str], Path],
    reference: Callable[[str, int], list[list[int]]],
    load: Load,
) -> None:
    check_or_refuse(Configuration(engine, threads=1), name, LLAMA_CPP_LACKS, recent, reference, load)


CTRANSLATE2_LACKS = {
    "qwen2-window": "sliding window of 12 tokens",
    "mistral-window": "sliding window of 12 tokens",
    "starcoder2-window": "sliding window of 12 tokens",
    "llama-llama3": "'llama3'",
    "llama-yarn": "'yarn'",
    "llama-dynamic": "'dynamic'",
    "phi3-longrope": "'longrope'",
    "gemma2": "does not run Gemma2ForCausalLM",
    "gemma3": "does not run Gemma3ForCausalLM",
    "gemma3-six": "does not run Gemma3ForCausalLM",
    "olmo2": "does not run Olmo2ForCausalLM",
    "stablelm-parallel": "norms of each head's queries and keys",
}


@pytest.mark.parametrize("engine", each_of("ctranslate2"))
@pytest.mark.parametrize("name", RECENT)
def test_ctranslate2(
    engine: str,
    name: str,
    recent: Callable[[str], Path],
    reference: Callable[[str, int], list[list[int]]],
    load: Load,
) -> None:
    check_or_refuse(Configuration(engine, threads=1), name, CTRANSLATE2_LACKS, recent, reference, load)


@pytest.mark.parametrize("engine", each_of("onnxruntime-genai"))
@pytest.mark.parametrize("name", ["qwen2", "qwen2-tied", "qwen2-window", "qwen3", "llama-llama3", "llama-head-size"])
def test_onnxruntime_genai(
    engine: str,
    name: str,
    recent: Callable[[str], Path],
    reference: Callable[[str, int], list[list[int]]],
    load: Load,
) -> None:
    lacks = {"qwen2-window": "sliding window of 12 tokens", "llama-head-size": "rotates 40 numbers of a head"}
    check_or_refuse(Configuration(engine, threads=1), name, lacks, recent, reference, load)


def check_or_refuse(
    configuration: Configuration,
    name: str,
    lacks: dict[str, str],
    recent: Callable[[str], Path],
    reference: Callable[[str, int], list[list[int]]],
    load: Load,
) -> None:
    model = model_of(recent(name))
    if name in lacks:
        for refuses in (engines.check_model, lambda asked, of: load(of, asked)):
            with pytest.raises(RefusedError, match=lacks[name]):
                refuses(configuration, model)
        return
    engines.check_model(configuration, model)
    session = load(model, configuration)
    if name in ROWS_WITHIN:
        with pytest.raises(InputError, match="beyond"):
            session_generate(session, random_prompts(8), NEW_TOKENS, 1)
        prompts = [prompt[:6] for prompt in random_prompts(4)]
        for batch in (1, 4):
            assert session_generate(session, prompts, 6, batch) == transformers_generate(
                recent(name), prompts, 6, batch
            )
    else:
        check(session, name, reference)
    session.close()


NOT_EXPORTED = {"llama-dynamic": "'dynamic'", "phi3-longrope": "'longrope'", "gemma2": "soft cap"}


@pytest.mark.parametrize("engine", each_of("torch", "torchscript", "onnx", "openvino"))
@pytest.mark.parametrize("name", RECENT)
def test_engines_over_transformers(
    engine: str,
    name: str,
    recent: Callable[[str], Path],
    reference: Callable[[str, int], list[list[int]]],
    load: Load,
) -> None:
    model, configuration = model_of(recent(name)), Configuration(engine, threads=1)
    if engine != "torch" and name in NOT_EXPORTED:
        for refuses in (engines.check_model, lambda asked, of: load(of, asked)):
            with pytest.raises(RefusedError, match=NOT_EXPORTED[name]):
                refuses(configuration, model)
        return
    engines.check_model(configuration, model)
    session = load(model, configuration)
    check(session, name, reference)
    session.close()


@pytest.mark.parametrize("name", ["gemma3", "phi3-longrope", "stablelm-parallel", "olmo2"])
@pytest.mark.parametrize("options", [(("prefill", "graph"), ("steps", "2")), (("attention", "fused"),)])
def test_torch_graph_however_it_is_cut(
    name: str,
    options: tuple[tuple[str, str], ...],
    recent: Callable[[str], Path],
    reference: Callable[[str, int], list[list[int]]],
    load: Load,
) -> None:
    session = load(model_of(recent(name)), Configuration("torch-graph", threads=1, options=options))
    check(session, name, reference)
    session.close()


def test_the_references_are_varied_and_what_sets_models_apart_matters(
    reference: Callable[[str, int], list[list[int]]],
) -> None:
    for name in RECENT:
        assert len({token for row in reference(name, 1) for token in row}) > 20, name
    for name in ("mistral", "starcoder2"):
        assert reference(name, 1) != reference(f"{name}-window", 1)
    assert reference("phi3", 1) != reference("phi3-longrope", 1)


def test_what_no_kernel_computes_is_refused_when_planned(recent: Callable[[str], Path]) -> None:
    """Rotation of neighbours, which CodeGen has."""
    folder = recent("qwen2")
    changed = replace(model_of(folder), architecture="CodeGenForCausalLM")
    with pytest.raises(RefusedError, match="engine torch-graph does not run CodeGenForCausalLM"):
        engines.check_model(Configuration("torch-graph"), changed)
