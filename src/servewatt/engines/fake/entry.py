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
        Option("after", (), "1", "Which generation is the first to fail."),
        Option("spin_ms", (), "0", "CPU time, in milliseconds, that a thread burns after each generation."),
        Option("beside", (), "1", "How many times as slow beside other processes of a duet episode."),
        Option("after_other", (), "1", "How many times as slow where others have worked since its last generation."),
        Option("cold_ms", (), "0", "How long it takes twice the time after a pause, in milliseconds."),
        Option("spike_every", (), "0", "Every how many generations one step takes `spike_ms` longer; 0 for never."),
        Option("spike_ms", (), "20", "How much longer, in milliseconds."),
        Option("spread", (), "0", "Standard deviation of the logarithm of the pace from process to process."),
        Option("offset", (), "0", "Added to each token; `process` for another number in each process."),
    ),
    real=False,
    keeps_artefacts=False,
)
