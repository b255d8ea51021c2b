"""Engine vllm: what it needs, what it runs, its options."""

from __future__ import annotations

from servewatt.engines.entry import EngineEntry, on
from servewatt.engines.options import Option
from servewatt.engines.vllm.requirements import REQUIREMENTS
from servewatt.records import Precision, Provider

ENTRY = EngineEntry(
    name="vllm",
    summary="vLLM, its own scheduler, paged KV cache and CUDA graphs",
    target="servewatt.engines.vllm.engine:VllmEngine",
    packages=("vllm", "torch", "triton", "transformers", "safetensors"),
    extra="vllm",
    supports=on(Provider.CUDA, (t for t in Precision if t.is_floating)),
    options=(
        Option("graphs", ("on", "off"), "on", "Compile the model and record it in CUDA graphs."),
        Option(
            "scheduling",
            ("async", "sync"),
            "async",
            "Schedule the next step before the ids of this one have reached the host.",
        ),
        Option("sequences", (), "", "Most rows that decode at once; the batch if not given."),
        Option("length", (), "", "Most tokens of a row, prompt and generation; the context up to 2048 if not given."),
        Option("memory", (), "0.9", "Share of the GPU's memory that vLLM takes."),
    ),
    pins=REQUIREMENTS,
)
