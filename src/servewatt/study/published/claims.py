"""The study's headline figures, each set beside what its table gives and what our results give.

A claim is checked against the table, never against memory: the verdict follows from the cells it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from servewatt.study.data.cells import By, Cell, values_of
from servewatt.study.published.savings import Definition, Saving, Savings, definition, pairs, savings


class End(StrEnum):
    """Which end of a range of savings a figure is."""

    LEAST = "least"
    MOST = "most"

    def of(self, found: Savings) -> Saving | None:
        """That end of the range; None where nothing was measured."""
        return found.least if self is End.LEAST else found.most


class Support(StrEnum):
    """Whether the published table supports a claim."""

    SUPPORTED = "supported"
    ELSEWHERE = "supported only under another definition"
    ABSENT = "not in the table"


@dataclass(frozen=True)
class Claim:
    """A headline figure of the paper's abstract."""

    name: str
    text: str
    """What is claimed, in short."""
    by: By
    end: End
    worded: str
    """The definition of savings that the abstract's words describe."""
    others: tuple[str, ...]
    """Further definitions that it may be computed by, the study's own first."""
    percent: float | None = None
    """The figure, to two digits after the point. None for a claim that the saving is above zero throughout."""


@dataclass(frozen=True)
class Reading:
    """What one source gives for a claim under one definition."""

    source: str
    definition: str
    saving: Saving | None
    """The end of the range that the claim is about; None where the source lacks what the definition needs."""
    models: int
    """Models that have what the definition needs."""
    above_zero: int
    """Those of them that save something throughout."""


@dataclass(frozen=True)
class ClaimCheck:
    """A claim, and what the published table and our results give."""

    claim: Claim
    verdict: Support
    readings: tuple[Reading, ...]
    """The published table by the claim's definitions, the worded one first."""
    support: tuple[str, ...]
    """The definitions by which the table gives the claimed figure."""
    nearest: Saving | None
    """The nearest figure in the table, between any two configurations that the wording speaks of; None where the
    claim is supported, or has no figure."""
    ours: tuple[Reading, ...] = ()
    """Each campaign by the same definitions."""


_CUDA_TEXT = "TORCH with CUDA saves {} against the other configurations"
_CPU_TEXT = "optimised engines like ONNX save {} among the CPU configurations"
_CUDA_OTHERS = ("within-cuda", "cuda-torch-onnx", "all", "all-jit", "within-cuda-jit")
_CPU_OTHERS = ("within-cpu", "cpu-onnx-torch", "cpu-ov-torch", "within-cpu-jit")

CLAIMS = (
    Claim(
        "cuda-least",
        _CUDA_TEXT.format("at least 37.99 % energy"),
        By.ENERGY,
        End.LEAST,
        "cuda-torch",
        _CUDA_OTHERS,
        37.99,
    ),
    Claim(
        "cuda-most",
        _CUDA_TEXT.format("up to 89.16 % energy"),
        By.ENERGY,
        End.MOST,
        "cuda-torch",
        _CUDA_OTHERS,
        89.16,
    ),
    Claim(
        "cpu-least",
        _CPU_TEXT.format("at least 8.98 % energy"),
        By.ENERGY,
        End.LEAST,
        "cpu-onnx",
        _CPU_OTHERS,
        8.98,
    ),
    Claim(
        "cpu-most",
        _CPU_TEXT.format("up to 72.04 % energy"),
        By.ENERGY,
        End.MOST,
        "cpu-onnx",
        _CPU_OTHERS,
        72.04,
    ),
    Claim(
        "cuda-torch-first",
        "TORCH with CUDA needs the least energy",
        By.ENERGY,
        End.LEAST,
        "cuda-torch",
        ("cuda-torch-onnx",),
    ),
    Claim(
        "cuda-before-cpu-energy",
        "CUDA configurations need less energy than CPU ones",
        By.ENERGY,
        End.LEAST,
        "cuda-cpu",
        ("cuda-cpu-best",),
    ),
    Claim(
        "cuda-before-cpu-time",
        "CUDA configurations need less time than CPU ones",
        By.TIME,
        End.LEAST,
        "cuda-cpu",
        ("cuda-cpu-best",),
    ),
)
"""The figures of the abstract of arXiv 2412.15441, version 2."""

_ROUNDING = 0.005 + 1e-9
"""Percentage points by which a figure told to two digits may differ from what it was rounded from."""


def check(claim: Claim, published: Sequence[Cell], ours: Sequence[Sequence[Cell]] = ()) -> ClaimCheck:
    """One claim against the published cells, and beside them each campaign's cells."""
    definitions = [definition(name) for name in (claim.worded, *claim.others)]
    readings = tuple(_reading(published, d, claim) for d in definitions)
    support = tuple(r.definition for r in readings if _gives(claim, r.saving))
    verdict = Support.SUPPORTED if claim.worded in support else Support.ELSEWHERE if support else Support.ABSENT
    # The study's own definition is told even where it does not give the figure: it was meant to.
    shown = dict.fromkeys((claim.worded, *claim.others[:1], *support))
    return ClaimCheck(
        claim=claim,
        verdict=verdict,
        readings=tuple(r for r in readings if r.definition in shown),
        support=support,
        nearest=_nearest(claim, definitions[0], published) if verdict is Support.ABSENT else None,
        ours=tuple(_reading(cells, definition(name), claim) for cells in ours for name in shown if cells),
    )


def _reading(cells: Sequence[Cell], by_definition: Definition, claim: Claim) -> Reading:
    found = savings(cells, by_definition, claim.by)
    models = {s.model for s in found.values}
    losing = {s.model for s in found.values if s.share <= 0}
    return Reading(found.source, by_definition.name, claim.end.of(found), len(models), len(models - losing))


def _gives(claim: Claim, saving: Saving | None) -> bool:
    if saving is None:
        return False
    if claim.percent is None:
        return saving.share > 0
    return abs(100 * saving.share - claim.percent) <= _ROUNDING


def _nearest(claim: Claim, worded: Definition, published: Sequence[Cell]) -> Saving | None:
    wanted = claim.percent
    if wanted is None:
        return None
    every: list[Saving] = []
    for model, measured in values_of(published, claim.by).items():
        known = [c for c in worded.needs if c in measured]
        every += pairs(measured, model, known, known)
    return min(every, key=lambda s: abs(100 * s.share - wanted), default=None)
