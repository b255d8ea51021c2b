"""Engine llama-cpp: what it needs, what it runs, its options."""

from __future__ import annotations

from servewatt.engines.entry import EngineEntry, on
from servewatt.engines.llama_cpp.build import BuildVariables
from servewatt.engines.options import Option
from servewatt.records import Precision, Provider

ENTRY = EngineEntry(
    name="llama-cpp",
    summary="llama.cpp, a GGUF file written from the safetensors",
    target="servewatt.engines.llama_cpp.engine:LlamaCppEngine",
    packages=("llama-cpp-python", "gguf", "numpy", "ml-dtypes"),
    extra="llama-cpp",
    # On CUDA it multiplies fp32 matrices in TF32. It rounds what meets quantised matrices to 8 bits.
    supports=(
        *on(Provider.CPU, (t for t in Precision if t is not Precision.INT8)),
        *on(Provider.CUDA, (t for t in Precision if t not in {Precision.FP32, Precision.INT8})),
    ),
    options=(
        Option("format", ("q4_0", "q4_k"), "q4_0", "int4: ggml's type of the matrices."),
        Option("activations", ("int8",), "int8", "w8a8 and int4: what llama.cpp always rounds activations to."),
        Option(
            "cache",
            ("fp32", "bf16", "fp16"),
            "",
            "Type of the KV cache; that of a floating precision, else fp16, if not given.",
        ),
        Option(
            "attention",
            ("plain", "flash"),
            "",
            "plain in fp32, which flash attention would round; flash in every other precision if not given.",
        ),
    ),
    pins=("llama-cpp-python==0.3.36", "gguf==0.19.0", "numpy==2.4.6", "ml-dtypes==0.6.0"),
    build_variables=BuildVariables(),
    architectures=frozenset(
        {
            *("BloomForCausalLM", "GPT2LMHeadModel", "GPTBigCodeForCausalLM", "GPTNeoXForCausalLM"),
            *("Gemma2ForCausalLM", "Gemma3ForCausalLM", "GemmaForCausalLM", "GraniteForCausalLM"),
            *("GraniteMoeHybridForCausalLM", "LlamaForCausalLM", "MistralForCausalLM", "Olmo2ForCausalLM"),
            *("Phi3ForCausalLM", "PhiForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "SmolLM3ForCausalLM"),
            *("StableLmForCausalLM", "Starcoder2ForCausalLM"),
        }
    ),
)
