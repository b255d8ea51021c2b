"""Decoding over a cache of fixed capacity, as a CUDA graph replays it: here the same step is run anew each time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from servewatt import engines
from servewatt.engines import Session
from servewatt.engines.onnx.engine import OnnxEngine, create_graph
from servewatt.engines.onnx.export import export
from servewatt.engines.onnx.graph import CUDA_KERNELS
from servewatt.engines.onnx.quantised import quantise_graph
from servewatt.engines.onnx.replay import BUCKET, ReplaySession
from servewatt.engines.onnx.session import OnnxSession
from servewatt.engines.proof import violations
from servewatt.errors import InputError, RefusedError
from servewatt.records import Configuration, Model, Precision, Provider
from tests.engines.tiny import (
    SIZES,
    model_of,
    random_prompts,
    session_generate,
    transformers_generate,
    transformers_log_probabilities,
)

pytestmark = pytest.mark.engine

CPU: list[tuple[str, dict[str, str]]] = [("CPUExecutionProvider", {})]
ON_HOST = frozenset({("Reshape", 1), ("Expand", 1), ("Unsqueeze", 1), *(("Slice", index) for index in range(1, 5))})
"""Inputs, by operator and index, that a CUDA kernel reads from the host's memory."""
Exported = Callable[[str, Precision], Path]
Replaying = Callable[[str], ReplaySession]


@pytest.fixture(scope="module")
def exported(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The artefact of fixed capacity of a tiny model."""

    @cache
    def make(kind: str, precision: Precision) -> Path:
        folder = tmp_path_factory.mktemp(f"{kind}-{precision.value}")
        export(model_of(folder_of(kind)), folder, precision, static=True)
        return folder

    return make


def on_cpu(artefact: Path, model: Model, precision: Precision = Precision.FP32) -> ReplaySession:
    configuration = Configuration("onnx", precision=precision, threads=1)
    return ReplaySession(create_graph(artefact, model, configuration, CPU), configuration)


@pytest.fixture
def replaying(exported: Exported, folder_of: Callable[[str], Path]) -> Replaying:
    """A session of a tiny model in fp32."""
    return lambda kind: on_cpu(exported(kind, Precision.FP32), model_of(folder_of(kind)))


@pytest.mark.parametrize("kind", SIZES)
def test_same_tokens_as_transformers(
    kind: str, replaying: Replaying, folder_of: Callable[[str], Path], check_tokens: Callable[[Session, str], None]
) -> None:
    session = replaying(kind)
    check_tokens(session, kind)
    # Over what other prompts have left in the cache, and past the first bucket.
    prompts, new_tokens = random_prompts(4, seed=5), BUCKET
    assert len({len(prompt) for prompt in prompts[:2]}) == 2
    for batch in (1, 2):
        expected = transformers_generate(folder_of(kind), prompts, new_tokens, batch)
        assert session_generate(session, prompts, new_tokens, batch) == expected
    facts = session.facts()
    assert violations(Configuration("onnx", threads=1), facts) == ()
    assert (facts.kv_cache, facts.kv_cache_dtype) == (True, "fp32")
    session.close()


def test_stops(replaying: Replaying, check_stops: Callable[[Session], None]) -> None:
    check_stops(replaying("llama"))


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_log_probabilities_are_those_of_one_forward_pass(
    kind: str, replaying: Replaying, folder_of: Callable[[str], Path]
) -> None:
    rows = [row for row in random_prompts(6, seed=3) if len(row) > 1] + [[5]]
    session = replaying(kind)
    before = session_generate(session, rows[:2], 8, 2)
    got = session.log_probabilities(rows)
    for ours, theirs in zip(got, transformers_log_probabilities(folder_of(kind), rows), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert session_generate(session, rows[:2], 8, 2) == before


def test_one_step_is_bound_to_the_same_memory_until_more_is_needed(replaying: Replaying) -> None:
    session = replaying("gpt2")
    ids, mask = np.ones((2, 20), np.int64), np.ones((2, 20), np.int64)
    _, first = session.start(ids, mask, 2)
    _, again = session.start(ids[:, :5], mask[:, :5], BUCKET - 20)
    assert again is first
    assert first.capacity == BUCKET
    for name, presented in (("ids", "next_ids"), ("places", "next_places"), ("value.1", "present_value.1")):
        assert first.inputs[name] is first.outputs[presented]
    _, single = session.start(ids[:1], mask[:1], 1)
    assert single is not first
    # The longest prompt and the longest generation so far: 20 columns and 109 new ones.
    _, wider = session.start(ids[:, :5], mask[:, :5], BUCKET - 19)
    assert wider.capacity == 2 * BUCKET
    assert session.start(ids, mask, 2)[1] is wider


def test_a_step_is_recorded_before_it_matters_and_once(
    replaying: Replaying, expected: Callable[[str, int], list[list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime runs a step three times when it records it, and again for memory that it was not recorded with."""
    session = replaying("gpt_neox")
    inner = session._session
    recorded: dict[str, Any] = {}
    unrecorded = 0

    class Recording:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def run_with_iobinding(self, binding: Any, options: Any) -> None:
            nonlocal unrecorded
            graph_id = options.get_run_config_entry("gpu_graph_id")
            unrecorded += graph_id == "-1"
            new = graph_id != "-1" and graph_id not in recorded
            assert recorded.setdefault(graph_id, binding) is binding or graph_id == "-1"
            for _ in range(3 if new else 1):
                inner.run_with_iobinding(binding, options)

    monkeypatch.setattr(session, "_session", Recording())
    monkeypatch.setattr(session, "_records", True)
    for batch in (1, 4):
        assert session_generate(session, random_prompts(), 64, batch) == expected("gpt_neox", batch)
    assert recorded.keys() == {"-1", "1", "2"}
    assert unrecorded == 20 + 5
    session_generate(session, random_prompts(1), BUCKET, 1)
    assert recorded.keys() == {"-1", "1", "2", "3"}


def test_a_step_that_writes_elsewhere_proves_no_cache(replaying: Replaying) -> None:
    session = replaying("gpt2")
    _, state = session.start(np.ones((1, 4), np.int64), np.ones((1, 4), np.int64), 4)
    assert session._prove(state).reuses_cache
    run = session._session.run_with_iobinding

    class WritingTwice:
        def run_with_iobinding(self, binding: Any, options: Any) -> None:
            run(binding, options)
            state["places"].update_inplace(np.array([3]))
            run(binding, options)

    session._session = WritingTwice()
    assert not session._prove(state).reuses_cache


@pytest.mark.parametrize("kind", SIZES)
def test_nothing_but_shapes_is_computed_from_shapes(kind: str, exported: Exported) -> None:
    """ONNX Runtime records no step in which a number computed on the host is copied to the device."""
    for precision in (Precision.FP32, Precision.BF16, Precision.FP16):
        graph = onnx.load(exported(kind, precision) / "graph.onnx", load_external_data=False).graph
        known = {i.name for i in graph.initializer} | {""}
        host: set[str] = set()
        for node in graph.node:
            if node.op_type == "Constant":
                known.update(node.output)
                continue
            given = [name for name in node.input if name not in known]
            from_host = [index for index, name in enumerate(node.input) if name in host]
            if node.op_type == "Shape" or (
                set(given) <= host and all((node.op_type, i) not in ON_HOST for i in from_host)
            ):
                host.update(node.output)
                continue
            assert all((node.op_type, index) in ON_HOST for index in from_host), node
        assert host
        readers = {n.op_type for n in graph.node if any(name.startswith(("key.", "value.")) for name in n.input)}
        assert readers - {"Shape"} == {"ScatterElements"}


@pytest.mark.parametrize("kind", SIZES)
def test_kernels_are_told_of_their_pieces_by_value(kind: str, exported: Exported) -> None:
    """Uneven pieces are told by a copy from the host, which a replay would repeat from memory used otherwise since."""
    graph = onnx.load(exported(kind, Precision.FP32) / "graph.onnx", load_external_data=False).graph
    values = {v.name: v.type.tensor_type for v in (*graph.value_info, *graph.input, *graph.output)}
    for node in graph.node:
        if node.op_type not in ("Concat", "Split") or values[node.output[0]].elem_type == onnx.TensorProto.INT64:
            continue
        pieces = node.input if node.op_type == "Concat" else node.output
        sizes = [values[name].shape.dim[-1].dim_value for name in pieces]
        # Three of any size along the last dimension have a kernel of their own.
        assert 0 < len(sizes) <= 32
        assert len(set(sizes)) == 1 or (node.op_type == "Split" and len(sizes) == 3)


@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
def test_half_precision(kind: str, exported: Exported, folder_of: Callable[[str], Path]) -> None:
    model = model_of(folder_of(kind))
    session = on_cpu(exported(kind, Precision.FP16), model, Precision.FP16)
    (growing := folder_of(kind).parent / f"{kind}-growing").mkdir()
    export(model, growing, Precision.FP16)
    configuration = Configuration("onnx", precision=Precision.FP16, threads=1)
    other = OnnxSession(create_graph(growing, model, configuration, CPU), configuration)
    got, expected = (np.array(session_generate(s, random_prompts(4), 8, 4)) for s in (session, other))
    assert (got == expected).mean() > 0.9
    assert session.facts().kv_cache_dtype == "fp16"
    half = onnx.load(exported(kind, Precision.BF16) / "graph.onnx", load_external_data=False).graph
    assert {"ScatterElements", "Split", "Concat"} <= CUDA_KERNELS[Precision.BF16]
    assert {i.type.tensor_type.elem_type for i in half.input[4:]} == {onnx.TensorProto.BFLOAT16}


def test_bf16_runs(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    model = model_of(folder_of("llama"))
    # The CPU has next to no kernel for bf16, so everything is widened but what only moves numbers.
    export(model, tmp_path, Precision.BF16, frozenset({"Cast", "Shape"}), static=True)
    session = on_cpu(tmp_path, model, Precision.BF16)
    list(session.generate(random_prompts(2), 3))
    facts = session.facts()
    assert (facts.kv_cache, facts.kv_cache_dtype) == (True, "bf16")
    assert dict(facts.weight_dtypes).keys() == {"bf16"}


def test_quantised_weights(exported: Exported, folder_of: Callable[[str], Path], tmp_path: Path, load: Any) -> None:
    model = model_of(folder_of("llama"))
    quantise_graph(exported("llama", Precision.FP32), model, tmp_path, bits=4, group=64)
    session = on_cpu(tmp_path, model, Precision.INT4)
    growing = load(model, Configuration("onnx", precision=Precision.INT4, threads=1))
    prompts = random_prompts(4)
    assert session_generate(session, prompts, 16, 2) == session_generate(growing, prompts, 16, 2)
    assert violations(Configuration("onnx", precision=Precision.INT4, threads=1), session.facts()) == ()


def test_graphs_are_for_cuda(model: Model, load: Callable[[Model, Configuration], Session]) -> None:
    with pytest.raises(RefusedError, match="CUDA graphs") as refused:
        load(model, Configuration("onnx", options=(("graphs", "on"),)))
    assert "provider cuda" in refused.value.hint
    with pytest.raises(InputError, match="graphs cannot be 'maybe'"):
        engines.check(Configuration("onnx", Provider.CUDA, options=(("graphs", "maybe"),)))


def test_the_graph_of_fixed_capacity_is_kept_apart(model: Model, artefacts: Any) -> None:
    built = len(artefacts.built)
    for options in ((), (("graphs", "off"),), (("graphs", "on"),)):
        OnnxEngine().prepare(model, Configuration("onnx", Provider.CUDA, Precision.FP16, options=options), artefacts)
    assert len(artefacts.built) == built + 2
