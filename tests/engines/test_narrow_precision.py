"""onnx and openvino with 8-bit and 4-bit weights, against fp32 arithmetic with the very weights they stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from servewatt import engines
from servewatt.engines import Session
from servewatt.engines.openvino.engine import computes_bf16
from servewatt.engines.proof import violations
from servewatt.engines.shared.quantisation import quantise
from servewatt.errors import RefusedError
from servewatt.records import Configuration, Model, Precision, Provider
from tests.engines.tiny import SIZES, FolderArtefacts, model_of, random_prompts, session_generate

pytestmark = pytest.mark.engine
CASES = [
    ("onnx", Precision.INT4, ()),
    ("onnx", Precision.INT4, (("activations", "int8"), ("group", "32"))),
    ("onnx", Precision.W8A8, ()),
    ("openvino", Precision.INT8, ()),
    ("openvino", Precision.INT4, (("group", "32"),)),
    ("openvino", Precision.INT4, (("compute", "bf16"),)),
]
PROMPT = random_prompts(1)[0]


def next_log_probabilities(folder: Path, bits: int, group: int) -> npt.NDArray[np.float32]:
    """By transformers in fp32, with every matrix of a product replaced by the weights that its integers stand for."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear | Conv1D):
            weight = layer.weight.detach().numpy()
            stored = weight.T if isinstance(layer, Conv1D) else weight
            rounded = quantise(stored, bits, group).floats()
            held = np.ascontiguousarray(rounded.T if isinstance(layer, Conv1D) else rounded)
            layer.weight = torch.nn.Parameter(torch.from_numpy(held))
    with torch.no_grad():
        logits = module(torch.tensor([PROMPT])).logits[0]
    log_probabilities: npt.NDArray[np.float32] = torch.log_softmax(logits, dim=-1).numpy()
    return log_probabilities


@pytest.mark.parametrize("kind", [*SIZES, "bundled"])
@pytest.mark.parametrize(("engine", "precision", "options"), CASES)
def test_each_architecture_computes_with_the_weights_it_claims(
    kind: str,
    engine: str,
    precision: Precision,
    options: tuple[tuple[str, str], ...],
    folder_of: Callable[[str], Path],
    load: Callable[[Model, Configuration], Session],
) -> None:
    # OpenVINO is refused with one thread in bf16 on CPUs with AMX.
    threads = 2 if ("compute", "bf16") in options else 1
    configuration = Configuration(engine, precision=precision, threads=threads, options=options)
    if "compute" in dict(options) and not computes_bf16():
        with pytest.raises(RefusedError, match="computes in fp32 on a CPU without"):
            load(model_of(folder_of(kind)), configuration)
        return
    session = load(model_of(folder_of(kind)), configuration)
    asked: dict[str, str] = dict(options)
    bits = 4 if precision is Precision.INT4 else 8
    expected = next_log_probabilities(folder_of(kind), bits, int(asked.get("group", "64")))
    wanted = [expected[i, token] for i, token in enumerate(PROMPT[1:])]
    found: list[float] = session.log_probabilities([PROMPT])[0]

    # Rounding activations (to 1 part in 254 of a group's largest, or of each number in bf16) moves logits of width 64
    # by a few per cent of their spread; floats agree to what fp32 sums to.
    rounded = precision is Precision.W8A8 or "activations" in asked or "compute" in asked
    errors = np.abs(np.array(found) - wanted)
    assert errors.mean() < (0.3 if rounded else 1e-3), f"{errors.mean()} of {np.std(wanted)}"
    assert len(session_generate(session, [PROMPT], 4, 1)[0]) == 4
    facts = session.facts()
    assert violations(configuration, facts) == ()
    assert dict(facts.weight_dtypes)["int4" if bits == 4 else "int8"] > 0
    detail = dict(facts.detail)
    assert detail["floating_matrices"] in {"none", "0"}
    assert facts.compute_dtype == (
        "int8" if precision is Precision.W8A8 or "activations" in asked else asked.get("compute", "fp32")
    )
    session.close()


@pytest.mark.parametrize(("options", "claimed"), [((), "fp32"), ((("cache", "int8"),), "int8")])
def test_the_type_of_the_cache_is_an_option(
    options: tuple[tuple[str, str], ...], claimed: str, model: Model, load: Callable[[Model, Configuration], Session]
) -> None:
    configuration = Configuration("openvino", precision=Precision.INT8, threads=1, options=options)
    session = load(model, configuration)
    session_generate(session, [PROMPT], 4, 1)
    assert session.facts().kv_cache_dtype == claimed
    assert violations(configuration, session.facts()) == ()
    session.close()


@pytest.mark.parametrize(
    ("configuration", "reason", "hint"),
    [
        (Configuration("onnx", precision=Precision.INT8), "no CPU kernel for floats times 8-bit", "w8a8"),
        (Configuration("onnx", Provider.CUDA, Precision.W8A8), "with floats only", "int8 or int4"),
        (Configuration("onnx", precision=Precision.INT4, options=(("compute", "fp16"),)), "computes in fp32", "cuda"),
        (Configuration("onnx", options=(("group", "32"),)), "for quantised weights", "leave it out"),
        (Configuration("openvino", Provider.CUDA, Precision.INT8), "on the CPU", "use one of them"),
        (Configuration("openvino", options=(("activations", "int8"),)), "for quantised weights", "leave it out"),
        (
            Configuration("openvino", precision=Precision.INT4, options=(("group", "128"),)),
            "groups of 128 do not divide",
            "group=64",
        ),
        (
            Configuration("onnx", precision=Precision.INT4, options=(("group", "128"),)),
            "groups of 128 do not divide",
            "group=64",
        ),
    ],
)
def test_what_has_no_kernel_or_does_not_fit_is_refused(
    configuration: Configuration, reason: str, hint: str, model: Model, artefacts: FolderArtefacts
) -> None:
    with pytest.raises(RefusedError, match=reason) as caught:
        engines.create(configuration.engine).prepare(model, configuration, artefacts)
    error: Any = caught.value
    assert hint in error.hint
