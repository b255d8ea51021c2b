"""The names of the engines, in the order in which they are shown. Each describes itself in `NAME/entry.py`."""

from __future__ import annotations

NAMES = (
    "torch",
    "torch-graph",
    "torchscript",
    "onnx",
    "openvino",
    "openvino-genai",
    "onnxruntime-genai",
    "ctranslate2",
    "llama-cpp",
    "vllm",
    "fake",
)
