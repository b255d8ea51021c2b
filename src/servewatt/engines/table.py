"""The table of engines. To add one: its package, its line here, its extra in pyproject.toml."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from servewatt import __version__
from servewatt.engines.environments.state import EngineEnvironment, add_line, find
from servewatt.engines.llama_cpp.build import BuildVariables
from servewatt.engines.shared.host import metadata_version
from servewatt.engines.vllm.requirements import REQUIREMENTS as VLLM_REQUIREMENTS
from servewatt.records import Precision, Provider


@dataclass(frozen=True)
class EngineEntry:
    """What is known of an engine without importing it."""

    name: str
    summary: str
    target: str
    """`module:Class`."""
    packages: tuple[str, ...]
    """Distributions it needs, the engine's own first; `a|b` is whichever of them is installed."""
    extra: str
    """The extra of servewatt that installs them."""
    supports: tuple[tuple[Provider, Precision], ...]
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Name of each option -> the values it may take; no values means that the engine itself judges them."""
    requirements: tuple[str, ...] = ()
    """Exact pins of the environment that is built for it; empty for engines that live in servewatt's own."""
    architectures: frozenset[str] | None = None
    """Architectures of config.json that its own model code knows; None for engines over transformers' model code."""
    build_variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Environment variables with which those requirements are built, where pip compiles them."""

    def environment(self) -> EngineEnvironment | None:
        """The environment that was built for it; None if there is none, or it needs none."""
        return find(self.name, self.requirements, self.build_variables) if self.requirements else None

    def problem(self) -> str:
        """Why the environment that was built for it cannot be used; empty if it can, or there is none."""
        environment = self.environment()
        return environment.problem if environment else ""

    def version(self) -> str | None:
        """Version of the engine's own package; None if any package it needs is missing.

        It is that of the environment built for it, or of servewatt's own where none was built.
        """
        environment = self.environment()
        look = environment.version if environment else metadata_version
        versions = [_version_of_any(package.split("|"), look) for package in self.packages]
        if None in versions:
            return None
        return versions[0] if versions else __version__

    @property
    def install_line(self) -> str:
        return add_line(self.name) if self.requirements else f"pip install 'servewatt[{self.extra}]'"


def _version_of_any(packages: Sequence[str], look: Callable[[str], str | None]) -> str | None:
    return next((version for version in map(look, packages) if version is not None), None)


_CPU32 = (Provider.CPU, Precision.FP32)
_CUDA32 = (Provider.CUDA, Precision.FP32)
_CPU_HALF = tuple((Provider.CPU, t) for t in (Precision.BF16, Precision.FP16))
_CUDA_HALF = tuple((Provider.CUDA, t) for t in (Precision.BF16, Precision.FP16))
_CPU_ROUNDING = tuple((Provider.CPU, t) for t in (Precision.W8A8, Precision.INT4))
_CUDA_ROUNDING = tuple((Provider.CUDA, t) for t in (Precision.W8A8, Precision.INT4))
_DECODERS = frozenset(f"{name}ForCausalLM" for name in ("Bloom", "GPTBigCode", "GPTNeoX", "Gemma", "Llama", "Phi")) | {
    "GPT2LMHeadModel"
}
_LINEAR = {"linear": ("packed", "plain")}
"""packed: linear layers through oneDNN, weights packed at load (CPU; the default there). plain: PyTorch's own, through
the BLAS that it was built with."""

ENGINES: dict[str, EngineEntry] = {
    e.name: e
    for e in (
        EngineEntry(
            "torch",
            "PyTorch, eager, transformers modelling code",
            "servewatt.engines.torch.engine:TorchEngine",
            ("torch", "transformers", "safetensors"),
            "torch",
            (_CPU32, _CUDA32, *_CPU_HALF, *_CUDA_HALF),
            _LINEAR,
        ),
        EngineEntry(
            "torch-graph",
            "PyTorch, own decoder, static cache; compiled, several steps in a CUDA graph",
            "servewatt.engines.torch_graph.engine:TorchGraphEngine",
            ("torch", "safetensors"),
            "torch",
            tuple((p, t) for p in Provider for t in Precision if t is not Precision.W8A8),
            {
                "compile": ("off", "default", "max-autotune"),
                "steps": ("1", "2", "4", "8", "16"),
                "attention": ("sdpa", "fused", "triton", "split"),
                "one_row": ("compiled", "triton"),
                "bucket": ("64", "128", "256", "512"),
                "merge": ("on", "off"),
                "region": ("layer", "step"),
                "prefill": ("eager", "graph"),
                "prefill_products": ("unpacked", "triton", "auto"),
                "step_products": ("unpacked", "triton"),
                **_LINEAR,
                "compute": ("fp32", "bf16", "fp16"),
                "group": ("32", "64", "128"),
                "inductor": (),
            },
            architectures=_DECODERS,
        ),
        EngineEntry(
            "torchscript",
            "PyTorch, traced and frozen graph (JIT)",
            "servewatt.engines.torchscript.engine:TorchScriptEngine",
            ("torch", "transformers", "safetensors"),
            "torch",
            (_CPU32, _CUDA32, *_CPU_HALF, *_CUDA_HALF),
            _LINEAR,
        ),
        EngineEntry(
            "onnx",
            "ONNX Runtime, exported graph",
            "servewatt.engines.onnx.engine:OnnxEngine",
            ("onnxruntime-gpu|onnxruntime", "onnx", "onnxscript", "torch", "transformers", "safetensors"),
            "onnx",
            # ONNX Runtime multiplies no half-precision matrices on the CPU: it casts them to fp32 and back.
            # Nor 8-bit weights with floats, which it would unpack at every step; w8a8 and int4 have kernels.
            (
                *(_CPU32, (Provider.CPU, Precision.INT4), (Provider.CPU, Precision.W8A8)),
                *(_CUDA32, *_CUDA_HALF, (Provider.CUDA, Precision.INT8), (Provider.CUDA, Precision.INT4)),
            ),
            {
                "group": ("32", "64", "128"),
                "activations": ("float", "int8"),
                "compute": ("fp32", "fp16"),
                "graphs": ("off", "on"),
            },
        ),
        EngineEntry(
            "openvino",
            "OpenVINO, converted stateful graph",
            "servewatt.engines.openvino.engine:OpenVinoEngine",
            ("openvino", "torch", "transformers", "safetensors"),
            "openvino",
            tuple((Provider.CPU, t) for t in Precision if t is not Precision.FP16),
            {
                "group": ("32", "64", "128"),
                "activations": ("float", "int8"),
                "compute": ("fp32", "bf16"),
                "cache": ("fp32", "bf16", "int8"),
            },
        ),
        EngineEntry(
            "openvino-genai",
            "OpenVINO GenAI, its LLMPipeline over the graph of engine openvino",
            "servewatt.engines.openvino_genai.engine:OpenVinoGenaiEngine",
            ("openvino-genai", "openvino", "torch", "transformers", "safetensors"),
            "openvino-genai",
            tuple((Provider.CPU, t) for t in Precision if t is not Precision.FP16),
            {
                "group": ("32", "64", "128"),
                "activations": ("float", "int8"),
                "compute": ("fp32", "bf16"),
                "cache": ("fp32", "bf16", "int8"),
                "batching": ("static", "continuous"),
            },
            # It prepares the graph with the versions that engine openvino does, and so finds what that has prepared.
            requirements=(
                "openvino-genai==2026.4.1.0",
                "openvino-tokenizers==2026.4.1.0",
                "openvino==2026.4.1",
                "torch==2.13.0",
                "transformers==5.23.0",
                "safetensors==0.8.0",
                "numpy==2.4.6",
            ),
        ),
        EngineEntry(
            "onnxruntime-genai",
            "ONNX Runtime GenAI, graphs of its own model builder",
            "servewatt.engines.onnxruntime_genai.engine:OnnxRuntimeGenAIEngine",
            (
                *("onnxruntime-genai-cuda|onnxruntime-genai", "onnxruntime-gpu|onnxruntime", "onnx", "onnx-ir"),
                *("torch", "transformers", "safetensors"),
            ),
            "onnxruntime-genai",
            (
                *(_CPU32, *_CPU_ROUNDING, *_CUDA_HALF),
                *((Provider.CUDA, Precision.INT8), (Provider.CUDA, Precision.INT4)),
            ),
            {"group": ("32", "64", "128"), "activations": ("float", "int8")},
            requirements=(
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
            architectures=frozenset({"GemmaForCausalLM", "LlamaForCausalLM", "PhiForCausalLM"}),
        ),
        EngineEntry(
            "ctranslate2",
            "CTranslate2, its own C++ decoder over a model written from the safetensors",
            "servewatt.engines.ctranslate2.engine:CTranslate2Engine",
            ("ctranslate2", "numpy", "ml-dtypes"),
            "ctranslate2",
            # Its products of 8-bit weights quantise the activations too; on the CPU it has no half-precision kernels.
            (_CPU32, (Provider.CPU, Precision.W8A8), _CUDA32, *_CUDA_HALF, (Provider.CUDA, Precision.W8A8)),
            {"floating": ("fp32", "bf16", "fp16")},
            requirements=("ctranslate2==4.8.5", "numpy==2.4.6", "ml-dtypes==0.6.0"),
            architectures=_DECODERS,
        ),
        EngineEntry(
            "llama-cpp",
            "llama.cpp, a GGUF file written from the safetensors",
            "servewatt.engines.llama_cpp.engine:LlamaCppEngine",
            ("llama-cpp-python", "gguf", "numpy", "ml-dtypes"),
            "llama-cpp",
            # On CUDA it multiplies fp32 matrices in TF32. It rounds what meets quantised matrices to 8 bits.
            (_CPU32, *_CPU_HALF, *_CPU_ROUNDING, *_CUDA_HALF, *_CUDA_ROUNDING),
            {
                "format": ("q4_0", "q4_k"),
                "activations": ("int8",),
                "cache": ("fp32", "bf16", "fp16"),
                "attention": ("plain", "flash"),
            },
            requirements=("llama-cpp-python==0.3.36", "gguf==0.19.0", "numpy==2.4.6", "ml-dtypes==0.6.0"),
            build_variables=BuildVariables(),
            architectures=_DECODERS,
        ),
        EngineEntry(
            "vllm",
            "vLLM, its own scheduler, paged KV cache and CUDA graphs",
            "servewatt.engines.vllm.engine:VllmEngine",
            ("vllm", "torch", "triton", "transformers", "safetensors"),
            "vllm",
            (_CUDA32, *_CUDA_HALF),
            {"graphs": ("on", "off"), "scheduling": ("async", "sync"), "sequences": (), "length": (), "memory": ()},
            requirements=VLLM_REQUIREMENTS,
        ),
        EngineEntry(
            "fake",
            "No model at all: a clock that counts, to try servewatt out",
            "servewatt.engines.fake.engine:FakeEngine",
            (),
            "",
            tuple((p, t) for p in Provider for t in Precision),
            {"step_ms": (), "fail": ()},
        ),
    )
}
