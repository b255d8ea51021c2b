"""The published study's figures as cited facts: the medians of its tables, in our units and under our names.

Where each figure comes from, and what is known against it, is in `README.md` beside this file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from servewatt.records import Provider
from servewatt.study.data.cells import Cell
from servewatt.study.data.names import STUDY

SOURCE = "published"
"""`Cell.source` of every published cell."""

CITATION = f"{STUDY}, replication package doi:10.5281/zenodo.15258679"
"""Goes beside every published figure."""

PROMPTS = 164
"""Prompts of one pass; every published energy and time is of one pass."""

REPETITIONS = 10

HARDWARE = "NVIDIA RTX 4090, 16-core AMD CPU, 66.6 GB of memory"

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class PublishedModel:
    """A model of the study."""

    name: str
    hub_id: str
    architecture: str
    parameters: int
    """As the study counts and rounds them."""


@dataclass(frozen=True)
class Aggregated:
    """A size group in one configuration: means over its models of their medians, of one pass over the prompts."""

    size_group: int
    """1, 2 or 3; see `names.SIZE_GROUPS`."""
    configuration: str
    cpu_energy_j: float
    gpu_energy_j: float | None
    """None where the study's boundary leaves the GPU out."""
    energy_j: float
    time_s: float


@dataclass(frozen=True)
class Utilisation:
    """Use of computing resources during one pass, or of the idle machine. None where it could not be recovered."""

    campaign: str
    """`2024-06`, or `2024-11` for the table after the second campaign was merged into it."""
    provider: Provider
    model: str
    """Empty for the idle machine."""
    configuration: str
    """Empty for the idle machine."""
    cpu_percent: float | None
    """Of the whole machine: 100 is every CPU."""
    ram_bytes: int | None
    """Used on the whole machine."""
    ram_percent: float | None
    gpu_percent: float | None
    gpu_memory_busy_percent: float | None
    """Share of time in which GPU memory was read or written."""
    gpu_memory_bytes: int | None
    """Used on the whole board."""
    gpu_memory_percent: float | None
    gpu_power_w: float | None
    gpu_temperature_c: float | None
    gpu_window_s: float | None
    """Time over which the GPU was sampled; longer than the pass."""
    time_s: float | None
    wall_power_w: float | None
    """Mean power of the whole machine at the wall."""
    cpu_energy_j: float | None
    gpu_energy_j: float | None
    """Measured in CPU rows too, where the study's global energy leaves it out."""
    note: str


@cache
def models() -> tuple[PublishedModel, ...]:
    """The study's twelve models, smallest group first, as in its tables."""
    rows = _rows("models.csv")
    return tuple(PublishedModel(r["model"], r["hub_id"], r["architecture"], int(r["parameters"])) for r in rows)


def parameters() -> dict[str, int]:
    """Model -> number of parameters as the study gives it."""
    return {m.name: m.parameters for m in models()}


@cache
def cells() -> tuple[Cell, ...]:
    """The 84 published cells: 12 models in 7 configurations, medians of 10 passes over 164 prompts.

    Each quantity is a median of its own, so CPU and GPU energy need not add up to the global energy. In CPU rows the
    study counts no GPU energy; it is None there, not zero.
    """
    return tuple(
        Cell(
            source=SOURCE,
            model=r["model"],
            configuration=r["configuration"],
            repetitions=REPETITIONS,
            energy_j=float(r["energy_j"]),
            cpu_energy_j=float(r["cpu_energy_j"]),
            gpu_energy_j=_gpu_energy(r),
            time_s=float(r["time_s"]),
        )
        for r in _rows("energy_time.csv")
    )


@cache
def aggregated() -> tuple[Aggregated, ...]:
    """The study's means per size group and configuration, 21 rows."""
    return tuple(
        Aggregated(
            size_group=int(r["size_group"]),
            configuration=r["configuration"],
            cpu_energy_j=float(r["cpu_energy_j"]),
            gpu_energy_j=_gpu_energy(r),
            energy_j=float(r["energy_j"]),
            time_s=float(r["time_s"]),
        )
        for r in _rows("aggregated.csv")
    )


@cache
def utilisation() -> tuple[Utilisation, ...]:
    """Utilisation where it could be recovered, 75 rows: 5 models on CPU and all 12 on CUDA, twice for 5 of them."""
    return tuple(
        Utilisation(
            campaign=r["campaign"],
            provider=Provider(r["provider"]),
            model=r["model"],
            configuration=r["configuration"],
            cpu_percent=_number(r["cpu_percent"]),
            ram_bytes=_whole(r["ram_bytes"]),
            ram_percent=_number(r["ram_percent"]),
            gpu_percent=_number(r["gpu_percent"]),
            gpu_memory_busy_percent=_number(r["gpu_memory_busy_percent"]),
            gpu_memory_bytes=_whole(r["gpu_memory_bytes"]),
            gpu_memory_percent=_number(r["gpu_memory_percent"]),
            gpu_power_w=_number(r["gpu_power_w"]),
            gpu_temperature_c=_number(r["gpu_temperature_c"]),
            gpu_window_s=_number(r["gpu_window_s"]),
            time_s=_number(r["time_s"]),
            wall_power_w=_number(r["wall_power_w"]),
            cpu_energy_j=_number(r["cpu_energy_j"]),
            gpu_energy_j=_number(r["gpu_energy_j"]),
            note=r["note"],
        )
        for r in _rows("utilisation.csv")
    )


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (_FOLDER / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _gpu_energy(row: dict[str, str]) -> float | None:
    return float(row["gpu_energy_j"]) if row["configuration"].startswith("<CUDA") else None


def _number(text: str) -> float | None:
    return float(text) if text else None


def _whole(text: str) -> int | None:
    return int(text) if text else None
