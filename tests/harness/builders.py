"""Small plans over the fake engine, for tests of the harness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from servewatt.harness.schedule import preparation
from servewatt.records import (
    Configuration,
    Environment,
    Model,
    ModelSource,
    Plan,
    Procedure,
    Run,
    Trial,
    Weights,
    Workload,
)

ENVIRONMENT = Environment(
    cpu="test", cpu_count=2, memory_bytes=2**33, kernel="6", system="Linux", python="3.11", cache_bytes=2**20
)

QUICK = Procedure(
    blocks=2,
    settle_s=0.0,
    idle_s=0.1,
    window_s=0.3,
    warmup_s=0.05,
    timeout_s=60.0,
    foreign_limit=1.0,
    sample_interval_s=0.05,
    meters=("fake",),
)


def model(folder: Path) -> Model:
    """A model that only the fake engine can load."""
    return Model(
        name="none",
        source=ModelSource.FOLDER,
        folder=str(folder),
        revision="0",
        architecture="LlamaForCausalLM",
        weights=Weights.TRAINED,
        parameters=10,
        weight_bytes=40,
        vocabulary_size=1000,
        context_length=128,
    )


def fake(**options: object) -> Configuration:
    """A configuration of the fake engine."""
    pairs = tuple(sorted((name, str(value)) for name, value in options.items()))
    return Configuration("fake", options=pairs)


def run(folder: Path, configurations: Sequence[Configuration], procedure: Procedure = QUICK) -> Run:
    """A run of three short prompts, five tokens each."""
    workload = Workload("three", ((1, 2), (3,), (4, 5, 6)), new_tokens=5)
    return Run(
        "r1",
        "2026-01-01T00:00:00+00:00",
        Plan(model(folder), workload, tuple(configurations), procedure),
        ENVIRONMENT,
        "0",
    )


DUET = replace(QUICK, warmup_s=0.02, duet=True, slice_s=0.05)
"""Of duet episodes with slices that hold some generations of the fake engine."""


def trial(folder: Path, configuration: Configuration, procedure: Procedure = DUET, block: int = 0) -> Trial:
    """A trial of a run of the configuration alone."""
    return replace(preparation(run(folder, [configuration], procedure), configuration), block=block)
