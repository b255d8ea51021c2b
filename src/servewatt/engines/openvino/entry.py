"""Engine openvino: what it needs, what it runs, its options."""

from __future__ import annotations

from servewatt.engines.entry import EngineEntry, on
from servewatt.engines.options import ACTIVATIONS, GROUP, Option
from servewatt.records import Precision, Provider

OPTIONS = (
    GROUP,
    ACTIVATIONS,
    Option(
        "compute",
        ("fp32", "bf16"),
        "fp32",
        "int8 and int4 with floating activations: the type that weights are unpacked to.",
    ),
    Option("cache", ("fp32", "bf16", "int8"), "", "Type of the KV cache; that of the arithmetic if not given."),
)
SUPPORTS = on(Provider.CPU, (t for t in Precision if t is not Precision.FP16))

ENTRY = EngineEntry(
    name="openvino",
    summary="OpenVINO, converted stateful graph",
    target="servewatt.engines.openvino.engine:OpenVinoEngine",
    packages=("openvino", "torch", "transformers", "safetensors"),
    extra="openvino",
    supports=SUPPORTS,
    options=OPTIONS,
)
