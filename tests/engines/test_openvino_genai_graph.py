"""The graph of engine openvino with a pipeline's inputs computes the same, by the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from servewatt.engines.openvino.engine import graph_folder
from servewatt.engines.openvino_genai.graph import pipeline_graph
from servewatt.errors import RefusedError
from servewatt.records import Configuration, Precision
from tests.engines.tiny import SIZES, FolderArtefacts, model_of

pytestmark = pytest.mark.engine


def folder_for(kind: str, folder_of: Callable[[str], Path], artefacts: FolderArtefacts, precision: Precision) -> Path:
    return graph_folder(model_of(folder_of(kind)), Configuration("openvino", precision=precision), artefacts)


def logits_of(graph: Any, inputs: dict[str, Any]) -> Any:
    import openvino

    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    request.reset_state()
    return request.infer(inputs)[compiled.output("logits")]


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT4])
@pytest.mark.parametrize("kind", [kind for kind in SIZES if kind != "bloom"])
def test_it_computes_the_same_from_a_mask_and_positions(
    kind: str, precision: Precision, folder_of: Callable[[str], Path], artefacts: FolderArtefacts, tmp_path: Path
) -> None:
    import openvino

    folder = folder_for(kind, folder_of, artefacts, precision)
    (tmp_path / "openvino_model.xml").write_bytes(pipeline_graph(folder / "graph.xml"))
    (tmp_path / "openvino_model.bin").symlink_to(folder / "graph.bin")
    graph = openvino.Core().read_model(tmp_path / "openvino_model.xml")
    assert {port.any_name for port in graph.inputs} == {"input_ids", "attention_mask", "position_ids", "beam_idx"}

    ids = np.array([[7, 8, 9], [0, 5, 6]])
    rows = {"beam_idx": np.arange(2, dtype=np.int32)}
    mask, positions = np.array([[1, 1, 1], [0, 1, 1]]), np.array([[0, 1, 2], [0, 0, 1]])
    made = logits_of(graph, {"input_ids": ids, "attention_mask": mask, "position_ids": positions, **rows})
    plain = openvino.Core().read_model(folder / "graph.xml")
    expected = logits_of(plain, {"ids": ids, "padding": np.array([0, 1]), **rows})
    assert made.shape == (2, 1, 311)
    np.testing.assert_allclose(made[:, 0], expected, atol=1e-4)


def test_attention_of_several_operators_is_refused(
    folder_of: Callable[[str], Path], artefacts: FolderArtefacts
) -> None:
    folder = folder_for("bloom", folder_of, artefacts, Precision.FP32)
    with pytest.raises(RefusedError, match="attention is not one operator"):
        pipeline_graph(folder / "graph.xml")


def test_a_graph_of_another_form_is_refused(
    folder_of: Callable[[str], Path], artefacts: FolderArtefacts, tmp_path: Path
) -> None:
    tree = ElementTree.parse(folder_for("llama", folder_of, artefacts, Precision.FP32) / "graph.xml")
    for layer in tree.iter("layer"):
        if layer.get("type") == "GreaterEqual":
            layer.set("type", "Greater")
    tree.write(tmp_path / "graph.xml")
    with pytest.raises(RefusedError, match="not of the form"):
        pipeline_graph(tmp_path / "graph.xml")
