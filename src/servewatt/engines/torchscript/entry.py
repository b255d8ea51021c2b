"""Engine torchscript: what it needs, what it runs, its options."""

from __future__ import annotations

from servewatt.engines.entry import EngineEntry, on
from servewatt.engines.options import LINEAR
from servewatt.records import Precision, Provider

ENTRY = EngineEntry(
    name="torchscript",
    summary="PyTorch, traced and frozen graph (JIT)",
    target="servewatt.engines.torchscript.engine:TorchScriptEngine",
    packages=("torch", "transformers", "safetensors"),
    extra="torch",
    supports=tuple(pair for p in Provider for pair in on(p, (t for t in Precision if t.is_floating))),
    options=(LINEAR,),
    keeps_artefacts=False,
)
