"""Engine fake: what it needs, what it runs, its options."""

from __future__ import annotations

from servewatt.engines.entry import EngineEntry, on
from servewatt.engines.options import Option
from servewatt.records import Precision, Provider

ENTRY = EngineEntry(
    name="fake",
    summary="No model at all: a clock that counts, to try servewatt out",
    target="servewatt.engines.fake.engine:FakeEngine",
    packages=(),
    extra="",
    supports=tuple(pair for p in Provider for pair in on(p, Precision)),
    options=(
        Option("step_ms", (), "1", "Milliseconds that a step takes."),
        Option("fail", (), "", "What to do wrong, to test what surrounds an engine."),
    ),
    real=False,
)
