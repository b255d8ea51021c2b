"""Engine torch: what it needs, what it runs, its options."""

from __future__ import annotations

from servewatt.engines.entry import EngineEntry, on
from servewatt.engines.options import LINEAR
from servewatt.records import Precision, Provider

ENTRY = EngineEntry(
    name="torch",
    summary="PyTorch, eager, transformers modelling code",
    target="servewatt.engines.torch.engine:TorchEngine",
    packages=("torch", "transformers", "safetensors"),
    extra="torch",
    supports=tuple(pair for p in Provider for pair in on(p, (t for t in Precision if t.is_floating))),
    options=(LINEAR,),
    keeps_artefacts=False,
)
