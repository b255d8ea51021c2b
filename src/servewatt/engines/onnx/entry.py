"""Engine onnx: what it needs, what it runs, its options."""

from __future__ import annotations

from servewatt.engines.entry import EngineEntry, on
from servewatt.engines.options import ACTIVATIONS, GROUP, Option
from servewatt.records import Precision, Provider

ENTRY = EngineEntry(
    name="onnx",
    summary="ONNX Runtime, exported graph",
    target="servewatt.engines.onnx.engine:OnnxEngine",
    packages=("onnxruntime-gpu|onnxruntime", "onnx", "onnxscript", "torch", "transformers", "safetensors"),
    extra="onnx",
    # ONNX Runtime multiplies no half-precision matrices on the CPU: it casts them to fp32 and back.
    # Nor 8-bit weights with floats, which it would unpack at every step; w8a8 and int4 have kernels.
    supports=(
        *on(Provider.CPU, (Precision.FP32, Precision.INT4, Precision.W8A8)),
        *on(Provider.CUDA, (t for t in Precision if t is not Precision.W8A8)),
    ),
    options=(
        GROUP,
        ACTIVATIONS,
        Option(
            "compute",
            ("fp32", "fp16"),
            "",
            "int8 and int4: the type of everything else; fp16 on CUDA if not given, always fp32 on the CPU.",
        ),
        Option("graphs", ("off", "on"), "off", "CUDA: replay the decode step as one CUDA graph."),
    ),
)
