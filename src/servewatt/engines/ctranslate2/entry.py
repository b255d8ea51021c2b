"""Engine ctranslate2: what it needs, what it runs, its options."""

from __future__ import annotations

from servewatt.engines.entry import EngineEntry, on
from servewatt.engines.options import Option
from servewatt.records import Precision, Provider

ENTRY = EngineEntry(
    name="ctranslate2",
    summary="CTranslate2, its own C++ decoder over a model written from the safetensors",
    target="servewatt.engines.ctranslate2.engine:CTranslate2Engine",
    packages=("ctranslate2", "numpy", "ml-dtypes"),
    extra="ctranslate2",
    # Its products of 8-bit weights quantise the activations too; on the CPU it has no half-precision kernels.
    supports=(
        *on(Provider.CPU, (Precision.FP32, Precision.W8A8)),
        *on(Provider.CUDA, (Precision.FP32, Precision.BF16, Precision.FP16, Precision.W8A8)),
    ),
    options=(
        Option(
            "floating",
            ("fp32", "bf16", "fp16"),
            "",
            "w8a8: the type of what is not int8; bf16 on CUDA if not given, always fp32 on the CPU.",
        ),
    ),
    pins=("ctranslate2==4.8.5", "numpy==2.4.6", "ml-dtypes==0.6.0"),
    architectures=frozenset(
        {
            *("BloomForCausalLM", "GPT2LMHeadModel", "GPTBigCodeForCausalLM", "GPTNeoXForCausalLM"),
            *("GemmaForCausalLM", "GraniteForCausalLM", "GraniteMoeHybridForCausalLM", "LlamaForCausalLM"),
            *("MistralForCausalLM", "Phi3ForCausalLM", "PhiForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"),
            *("SmolLM3ForCausalLM", "StableLmForCausalLM", "Starcoder2ForCausalLM"),
        }
    ),
)
