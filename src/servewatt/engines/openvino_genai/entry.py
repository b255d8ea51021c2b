"""Engine openvino-genai: what it needs, what it runs, its options."""

from __future__ import annotations

from servewatt.engines.entry import EngineEntry
from servewatt.engines.openvino.entry import OPTIONS, SUPPORTS
from servewatt.engines.options import Option

ENTRY = EngineEntry(
    name="openvino-genai",
    summary="OpenVINO GenAI, its LLMPipeline over the graph of engine openvino",
    target="servewatt.engines.openvino_genai.engine:OpenVinoGenaiEngine",
    packages=("openvino-genai", "openvino", "torch", "transformers", "safetensors"),
    extra="openvino-genai",
    supports=SUPPORTS,
    options=(
        *OPTIONS,
        Option(
            "batching",
            ("static", "continuous"),
            "static",
            "The stateful graph with prompts padded on the left, or the one with paged attention and a scheduler.",
        ),
    ),
    # It prepares the graph with the versions that engine openvino does, and so finds what that has prepared.
    pins=(
        "openvino-genai==2026.4.1.0",
        "openvino-tokenizers==2026.4.1.0",
        "openvino==2026.4.1",
        "torch==2.13.0",
        "transformers==5.23.0",
        "safetensors==0.8.0",
        "numpy==2.4.6",
    ),
)
