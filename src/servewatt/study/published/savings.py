"""Savings ranges by several stated definitions: what one configuration saves over another, model by model.

A range of savings means something only with its definition: which configurations may be chosen, and which they are
set against. The definitions are named here, and all are computed alike on published cells and on ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from servewatt.errors import InputError, nearest
from servewatt.study.data.cells import By, Cell, values_of
from servewatt.study.data.names import CONFIGURATIONS

JIT = ("<CPU, JIT>", "<CUDA, JIT>")
"""Left out by the study's own savings: its JIT rows are one forward pass, not a generation."""

_ALL = CONFIGURATIONS
_CPU = tuple(c for c in _ALL if c.startswith("<CPU"))
_CUDA = tuple(c for c in _ALL if c.startswith("<CUDA"))


def _without_jit(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(label for label in labels if label not in JIT)


class Pick(StrEnum):
    """Which of several configurations of one model a definition takes."""

    EACH = "each"
    LEAST = "least"
    GREATEST = "greatest"


@dataclass(frozen=True)
class Definition:
    """One way to define savings. A saving is 1 - (of the saver) / (of the one it is set against)."""

    name: str
    sentence: str
    savers: tuple[str, ...]
    against: tuple[str, ...]
    saver: Pick = Pick.EACH
    """Which of the savers."""
    other: Pick = Pick.EACH
    """Which of those they are set against."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Configurations that a model must have to enter: with one missing, the figure would be another one."""
        return tuple(c for c in CONFIGURATIONS if c in self.savers or c in self.against)


@dataclass(frozen=True)
class Saving:
    """What one configuration saves over another, of one model."""

    model: str
    saver: str
    against: str
    saver_value: float
    """Joules or seconds: of a whole pass where published, per generated token where ours."""
    against_value: float
    share: float
    """1 - saver_value / against_value; negative where the saver needs more."""


@dataclass(frozen=True)
class Absent:
    """A model that a definition leaves out, and the configurations it lacks."""

    model: str
    lacks: tuple[str, ...]


@dataclass(frozen=True)
class Savings:
    """Savings by one definition over the models of one source, with the rows that they come from."""

    definition: Definition
    source: str
    by: By
    values: tuple[Saving, ...]
    """Model by model; several a model where the definition takes each of several configurations."""
    least: Saving | None
    most: Saving | None
    absent: tuple[Absent, ...] = ()


def _within(name: str, labels: tuple[str, ...], told: str) -> Definition:
    sentence = f"per model, 1 - least / greatest of {told}"
    return Definition(name, sentence, labels, labels, Pick.LEAST, Pick.GREATEST)


def _best(name: str, labels: tuple[str, ...], told: str) -> Definition:
    return Definition(name, f"per model, the least of {told} against each other one", labels, labels, Pick.LEAST)


def _one(name: str, saver: str, against: tuple[str, ...], told: str) -> Definition:
    return Definition(name, f"per model, {saver} against {told}", (saver,), tuple(c for c in against if c != saver))


DEFINITIONS = (
    _within("within-cuda", _without_jit(_CUDA), "the CUDA configurations, JIT left out (the study's own)"),
    _within("within-cpu", _without_jit(_CPU), "the CPU configurations, JIT left out (the study's own)"),
    _within("within-cuda-jit", _CUDA, "the CUDA configurations, JIT included"),
    _within("within-cpu-jit", _CPU, "the CPU configurations, JIT included"),
    _best("all", _without_jit(_ALL), "all configurations, JIT left out,"),
    _best("all-jit", _ALL, "all configurations, JIT included,"),
    _one("cuda-torch", "<CUDA, TORCH>", _without_jit(_ALL), "each other configuration, JIT left out"),
    _one("cpu-onnx", "<CPU, ONNX>", _without_jit(_CPU), "each other CPU configuration, JIT left out"),
    _one("cpu-onnx-torch", "<CPU, ONNX>", ("<CPU, TORCH>",), "<CPU, TORCH>"),
    _one("cpu-ov-torch", "<CPU, OV>", ("<CPU, TORCH>",), "<CPU, TORCH>"),
    _one("cuda-torch-onnx", "<CUDA, TORCH>", ("<CUDA, ONNX>",), "<CUDA, ONNX>"),
    Definition(
        "cuda-cpu",
        "per model, each CUDA configuration against each CPU one, JIT left out",
        _without_jit(_CUDA),
        _without_jit(_CPU),
    ),
    Definition(
        "cuda-cpu-best",
        "per model, the least of the CUDA configurations against the least of the CPU ones, JIT left out",
        _without_jit(_CUDA),
        _without_jit(_CPU),
        Pick.LEAST,
        Pick.LEAST,
    ),
)


def definition(name: str) -> Definition:
    """The definition of that name.

    Raises InputError if there is none.
    """
    found = next((d for d in DEFINITIONS if d.name == name), None)
    if found is None:
        raise InputError(f"no definition of savings is called {name!r}", nearest(name, [d.name for d in DEFINITIONS]))
    return found


def savings(cells: Sequence[Cell], one: Definition, by: By = By.ENERGY) -> Savings:
    """Savings by one definition over the models of `cells`, which are of one source.

    A model that lacks a configuration the definition needs is left out and told in `absent`. Raises ValueError if the
    cells are of several sources: their figures are of different work and do not compare.
    """
    sources = {c.source for c in cells}
    if len(sources) > 1:
        raise ValueError(f"cells of several sources: {', '.join(sorted(sources))}")
    table = values_of(cells, by)
    values: list[Saving] = []
    absent: list[Absent] = []
    for model, measured in table.items():
        lacks = tuple(c for c in one.needs if c not in measured)
        if lacks:
            absent.append(Absent(model, lacks))
        else:
            values += _savings_of(model, measured, one)
    return Savings(
        definition=one,
        source=next(iter(sources), ""),
        by=by,
        values=tuple(values),
        least=min(values, key=lambda s: s.share, default=None),
        most=max(values, key=lambda s: s.share, default=None),
        absent=tuple(absent),
    )


def pairs(measured: Mapping[str, float], model: str, savers: Iterable[str], against: Iterable[str]) -> list[Saving]:
    """Every saver against every other one of `against`; `measured` is configuration -> joules or seconds."""
    others = tuple(against)
    return [
        Saving(model, a, b, measured[a], measured[b], 1 - measured[a] / measured[b])
        for a in savers
        for b in others
        if a != b
    ]


def _savings_of(model: str, measured: Mapping[str, float], one: Definition) -> list[Saving]:
    savers = _pick(measured, one.savers, one.saver)
    return pairs(measured, model, savers, _pick(measured, one.against, one.other))


def _pick(measured: Mapping[str, float], labels: tuple[str, ...], pick: Pick) -> tuple[str, ...]:
    if pick is Pick.EACH:
        return labels
    ordered = sorted(labels, key=lambda c: measured[c])
    # Of equal ones the least and the greatest are different configurations, so that they make a pair.
    return (ordered[0],) if pick is Pick.LEAST else (ordered[-1],)
