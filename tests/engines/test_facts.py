from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from servewatt.engines import Session
from servewatt.engines.onnx.engine import OnnxEngine
from servewatt.engines.openvino.engine import check_threads, computes_bf16
from servewatt.engines.proof import violations
from servewatt.errors import RefusedError
from servewatt.records import Configuration, Model, Precision
from tests.engines.tiny import VOCABULARY, FolderArtefacts, random_prompts

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("engine", ["torch", "torchscript", "onnx", "openvino"])
def test_a_loaded_engine_shows_what_runs(
    engine: str, model: Model, load: Callable[[Model, Configuration], Session]
) -> None:
    session = load(model, Configuration(engine, threads=1))
    assert not session.facts().kv_cache, "no decode step has been seen yet"
    list(session.generate(random_prompts(2), 4))
    session.synchronize()
    facts = session.facts()

    assert dict(facts.devices).keys() == {"cpu"}
    assert facts.compute_dtype == "fp32"
    assert (facts.kv_cache, facts.kv_cache_dtype) == (True, "fp32")
    assert facts.threads == 1
    # 4 bytes for each number in the file, whose header is about 3 kB; some graphs inline vectors of the norms.
    stored = model.weight_bytes
    assert dict(facts.weight_dtypes).keys() == {"fp32"}
    assert 0.98 * stored < dict(facts.weight_dtypes)["fp32"] <= stored
    assert dict(facts.libraries)["torch"]
    assert dict(facts.detail)["attention"]
    assert violations(Configuration(engine, threads=1), facts) == ()
    assert session.peak_device_bytes() is None
    session.close()


@pytest.mark.parametrize("engine", ["torch", "torchscript", "openvino"])
def test_bf16_computes_in_bf16(engine: str, model: Model, load: Callable[[Model, Configuration], Session]) -> None:
    # OpenVINO is refused with one thread on CPUs with AMX.
    configuration = Configuration(engine, precision=Precision.BF16, threads=2 if engine == "openvino" else 1)
    if engine == "openvino" and not computes_bf16():
        with pytest.raises(RefusedError, match="computes in fp32 on a CPU without"):
            load(model, configuration)
        return
    session = load(model, configuration)
    tokens = [step.tokens for step in session.generate(random_prompts(2), 4)]
    facts = session.facts()
    assert len(tokens) == 4
    assert facts.compute_dtype == "bf16"
    assert facts.kv_cache_dtype == "bf16"
    assert dict(facts.weight_dtypes)["bf16"] > 0
    # Whether the embedding is held in bf16 too depends on the CPU.
    assert sum(size for _, size in facts.lookup_dtypes) in {0, VOCABULARY * 64 * 2, VOCABULARY * 64 * 4}
    assert violations(configuration, facts) == ()
    assert violations(Configuration(engine, threads=1), facts) != ()
    session.close()


@pytest.mark.parametrize(
    ("flags", "able"),
    [
        ("flags\t\t: fpu avx avx2 fma", False),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", True),
        ("flags : avx2 avx_vnni avx_ne_convert", True),
        ("flags : amx_bf16", True),
        ("Features : fp asimd bf16", True),
        ("", True),
    ],
)
def test_openvino_computes_bf16_by_the_cpu_s_instructions(tmp_path: Path, flags: str, able: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    assert computes_bf16(tmp_path / "cpuinfo") == able


def test_an_export_happens_once_and_leaves_fp32_weights_where_they_are(model: Model, tmp_path: Path) -> None:
    from servewatt.engines.onnx.engine import OnnxEngine

    artefacts = FolderArtefacts(tmp_path)
    for _ in range(2):
        OnnxEngine().load(model, Configuration("onnx", threads=1), artefacts).close()
    assert artefacts.built == ["onnx"]
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"graph.onnx", "graph.json"}


def test_single_integers_count_as_shapes(model: Model, tmp_path: Path) -> None:
    """Sums of lengths are scalars; a CUDA session computes them on the CPU like any other shape."""
    OnnxEngine().load(model, Configuration("onnx"), FolderArtefacts(tmp_path)).close()
    (description,) = tmp_path.rglob("graph.json")
    shapes = set(json.loads(description.read_text())["shape_nodes"])
    graph = onnx.load(str(description.with_name("graph.onnx")), load_external_data=False).graph
    lengths = {node.output[0] for node in graph.node if node.op_type == "Shape"}
    scalars = [n.name for n in graph.node if n.op_type == "Squeeze" and n.input[0] in lengths]
    assert scalars
    assert set(scalars) <= shapes


def test_openvino_refuses_what_would_crash_it(tmp_path: Path) -> None:
    cpu_info = tmp_path / "cpuinfo"
    one, two = ({"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": n} for n in ("1", "2"))
    cpu_info.write_text("flags : avx512_bf16 amx_bf16 amx_tile\n")
    with pytest.raises(RefusedError, match="one thread in bf16"):
        check_threads(one, cpu_info)
    check_threads(two, cpu_info)
    check_threads({**one, "INFERENCE_PRECISION_HINT": "f32"}, cpu_info)
    cpu_info.write_text("flags : avx512_bf16\n")
    check_threads(one, cpu_info)
