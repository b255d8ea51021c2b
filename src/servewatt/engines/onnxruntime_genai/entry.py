"""Engine onnxruntime-genai: what it needs, what it runs, its options."""

from __future__ import annotations

from servewatt.engines.entry import EngineEntry, on
from servewatt.engines.options import ACTIVATIONS, GROUP
from servewatt.records import Precision, Provider

ENTRY = EngineEntry(
    name="onnxruntime-genai",
    summary="ONNX Runtime GenAI, graphs of its own model builder",
    target="servewatt.engines.onnxruntime_genai.engine:OnnxRuntimeGenAIEngine",
    packages=(
        *("onnxruntime-genai-cuda|onnxruntime-genai", "onnxruntime-gpu|onnxruntime", "onnx", "onnx-ir"),
        *("torch", "transformers", "safetensors"),
    ),
    extra="onnxruntime-genai",
    supports=(
        *on(Provider.CPU, (Precision.FP32, Precision.INT4, Precision.W8A8)),
        *on(Provider.CUDA, (Precision.BF16, Precision.FP16, Precision.INT8, Precision.INT4)),
    ),
    options=(GROUP, ACTIVATIONS),
    pins=(
        "onnxruntime-genai==0.18.0",
        "onnxruntime==1.32.0",
        "onnx==1.23.2",
        "onnx-ir==1.1.0",
        "torch==2.13.0",
        "transformers==5.23.0",
        "safetensors==0.8.0",
        "numpy==2.4.6",
        "ml-dtypes==0.6.0",
    ),
    architectures=frozenset(
        {"GemmaForCausalLM", "LlamaForCausalLM", "PhiForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
    ),
)
