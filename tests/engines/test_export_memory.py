"""An export or a load needs little more memory than the weights, so that a large model fits where it can run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.tiny import write_model

CHILD = """
import resource, sys
from pathlib import Path
from servewatt import engines
from servewatt.engines.torch_graph.model import checkpoint
from servewatt.engines.onnx import export as onnx_export
from servewatt.engines.onnx import quantised as onnx_quantised
from servewatt.engines.openvino import export as openvino_export
from servewatt.engines.openvino import quantised as openvino_quantised
from servewatt.engines.shared import packed_linear
from servewatt.records import Configuration, Precision
from tests.engines.tiny import model_of
model, out = model_of(Path(sys.argv[1])), Path(sys.argv[2])
{call}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
CALLS = [
    ("onnx_export.export(model, out, Precision.FP32)", 2.0),
    ("openvino_export.convert(model, out)", 2.0),
    (
        "onnx_export.export(model, out, Precision.FP32); (out / 'q').mkdir(); "
        "onnx_quantised.quantise_graph(out, model, out / 'q', 4, 64)",
        2.0,
    ),
    (
        "openvino_export.convert(model, out); (out / 'q').mkdir(); "
        "openvino_quantised.quantise_graph(out, out / 'q', 4, 64)",
        2.0,
    ),
    ("packed_linear.DROP_AFTER_BYTES = 0; engines.create('torch').load(model, Configuration('torch'), None)", 1.6),
    (
        "checkpoint.DROP_AFTER_BYTES = 0; "
        "engines.create('torch-graph').load(model, Configuration('torch-graph'), None)",
        2.1,
    ),
]
"""What is called, and what it may peak at, in sizes of the weights."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 100 MB of fp32 weights in two layers."""
    sizes = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 2, "num_key_value_heads": 4}
    return write_model(tmp_path_factory.mktemp("large") / "llama", "llama", **sizes)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same graph with next to no weights: what it peaks at is the libraries'."""
    return write_model(tmp_path_factory.mktemp("small") / "llama", "llama", num_hidden_layers=2)


@pytest.mark.engine
@pytest.mark.parametrize(("call", "most"), CALLS)
def test_peak_memory(call: str, most: float, large: Path, small: Path, tmp_path: Path) -> None:
    def peak(folder: Path) -> int:
        out = tmp_path / folder.parent.name
        out.mkdir()
        child = subprocess.run(
            [sys.executable, "-c", CHILD.format(call=call), str(folder), str(out)],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        return int(child.stdout.split()[-1])

    weights = (large / "model.safetensors").stat().st_size
    assert weights > 90e6
    assert peak(large) - peak(small) < most * weights
