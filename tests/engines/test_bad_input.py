from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servewatt import engines
from servewatt.engines import Session
from servewatt.engines.shared.weights import stored_tensors
from servewatt.errors import InputError, RefusedError, UnavailableError
from servewatt.records import Configuration, Model, Precision, Provider
from tests.engines.tiny import model_of

GRAPH_ENGINES = ["torch", "torchscript", "onnx", "openvino"]
Load = Callable[[Model, Configuration], Session]


@pytest.fixture
def broken(folder_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a good model folder, to be broken."""
    return Path(shutil.copytree(folder_of("llama"), tmp_path / "broken"))


@pytest.mark.engine
@pytest.mark.parametrize("engine", GRAPH_ENGINES)
def test_truncated_weights(engine: str, broken: Path, load: Load) -> None:
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match="truncated"):
        load(model_of(broken), Configuration(engine, threads=1))


@pytest.mark.engine
@pytest.mark.parametrize("engine", GRAPH_ENGINES)
def test_weights_of_another_model(engine: str, broken: Path, load: Load) -> None:
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(InputError, match=r"weights are missing .*model\.layers\.2"):
        load(model_of(broken), Configuration(engine, threads=1))


@pytest.mark.engine
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_act": 5}, "transformers cannot build it: .*hidden_act"),
        ({"num_attention_heads": 7}, "transformers cannot build it: .*not a multiple of the number of attention heads"),
        ({"pad_token_id": 10**6}, "transformers cannot build it: Padding_idx"),
    ],
)
def test_what_transformers_says_of_a_configuration_is_told(
    changes: dict[str, Any], words: str, broken: Path, load: Load
) -> None:
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(InputError, match=words) as caught:
        load(model_of(broken), Configuration("torch", threads=1))
    assert "\n" not in caught.value.message


@pytest.mark.engine
@pytest.mark.parametrize("engine", GRAPH_ENGINES)
def test_only_the_checkpoint_s_own_files_are_read(engine: str, broken: Path, load: Load) -> None:
    # As some publishers put the same weights, under the same or other names, beside them.
    (broken / "consolidated.safetensors").write_bytes(b"no safetensors")
    session = load(model_of(broken), Configuration(engine, threads=1))
    assert len(list(session.generate([[5, 6, 7]], 2))) == 2


@pytest.mark.engine
def test_remote_code_is_refused(broken: Path, load: Load) -> None:
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}))
    with pytest.raises(RefusedError, match="remote code"):
        load(model_of(broken), Configuration("torch", threads=1))


@pytest.mark.engine
def test_an_unknown_architecture_is_refused(broken: Path, load: Load) -> None:
    config = json.loads((broken / "config.json").read_text())
    changed = config | {"model_type": "abacus", "architectures": ["AbacusForCausalLM"]}
    (broken / "config.json").write_text(json.dumps(changed))
    with pytest.raises(RefusedError, match="abacus"):
        load(model_of(broken), Configuration("torch", threads=1))


@pytest.mark.engine
@pytest.mark.parametrize(
    ("engine", "precision"), [("onnx", Precision.BF16), ("openvino", Precision.FP16), ("torch", Precision.INT8)]
)
def test_a_precision_it_cannot_run_is_refused(engine: str, precision: Precision, model: Model, load: Load) -> None:
    with pytest.raises(RefusedError):
        load(model, Configuration(engine, precision=precision, threads=1))


@pytest.mark.engine
def test_memory_that_runs_out_while_loading_is_not_the_folder_s_fault(
    model: Model, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    def allocate(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", allocate)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        load(model, Configuration("torch", threads=1))


@pytest.mark.parametrize("engine", [*GRAPH_ENGINES, "fake"])
def test_unknown_options_are_refused(engine: str, model: Model, load: Load) -> None:
    configuration = Configuration(engine, options=(("colour", "red"),))
    for refuse in (engines.check, lambda c: load(model, c)):
        with pytest.raises(InputError, match=f"engine {engine} has no option 'colour'"):
            refuse(configuration)


def test_the_nearest_option_and_all_its_values_are_named(model: Model, load: Load) -> None:
    with pytest.raises(InputError) as error:
        load(model, Configuration("torch", options=(("lineer", "plain"),)))
    assert error.value.hint == "did you mean linear?"
    with pytest.raises(InputError, match="option linear cannot be 'plane'") as error:
        engines.check(Configuration("torchscript", options=(("linear", "plane"),)))
    assert error.value.hint == "one of: packed, plain"


@pytest.mark.engine
def test_half_precision_in_onnx_is_for_cuda(model: Model, load: Load) -> None:
    onnx = engines.entry("onnx").supports
    for precision in (Precision.BF16, Precision.FP16):
        assert (Provider.CUDA, precision) in onnx
        assert (Provider.CPU, precision) not in onnx
        with pytest.raises(RefusedError) as error:
            load(model, Configuration("onnx", precision=precision))
        assert "provider cuda" in error.value.hint


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["torch", "torchscript", "onnx"])
def test_cuda_that_is_not_there_is_unavailable_and_says_what_to_do(engine: str, model: Model, load: Load) -> None:
    import onnxruntime
    import torch

    if torch.cuda.is_available() or "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is CUDA here")
    with pytest.raises(UnavailableError) as error:
        load(model, Configuration(engine, Provider.CUDA))
    assert "CUDA" in error.value.message
    assert "provider cpu" in error.value.hint


def test_headers_that_are_not_safetensors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no weights \(model\.safetensors\)"):
        stored_tensors(tmp_path)
    path = tmp_path / "model.safetensors"
    for content, reason in [
        (b"", "the file is empty"),
        (b"\xff" * 64, "the header's length is wrong"),
        ((5).to_bytes(8, "little") + b"{not}", "the header is not JSON"),
        (_file({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, 4), "a takes 4 bytes, its shape 8"),
        (_file({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 4), "truncated"),
        (
            _file({"a": {"dtype": "Q9", "shape": [2], "data_offsets": [0, 8]}}, 8),
            "has the type Q9",
        ),
    ]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=reason):
            stored_tensors(tmp_path)


def _file(header: object, data_bytes: int) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data_bytes)


def test_importing_the_engines_imports_nothing_heavy() -> None:
    code = (
        "import sys; from servewatt import engines;"
        "[engines.create(name) for name in ('torch', 'torchscript', 'onnx', 'openvino')];"
        "print([m for m in ('torch', 'transformers', 'onnxruntime', 'onnx', 'openvino') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
