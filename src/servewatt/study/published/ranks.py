"""Do two sources order the configurations alike? Kendall's tau, model by model."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import factorial, isfinite

from servewatt.errors import UnavailableError, counted
from servewatt.study.data.cells import By, Cell, values_of
from servewatt.study.data.names import configuration_order
from servewatt.study.published.savings import JIT

LEAST_COMMON = 3
"""With two configurations tau can only be 1 or -1, and either is as likely by chance."""


@dataclass(frozen=True)
class RankAgreement:
    """How far two sources agree on the order of one model's configurations, or why that cannot be said."""

    model: str
    source: str
    """The campaign that is set beside the published order."""
    by: By
    jit: bool
    """Whether JIT rows enter; the published ones are other work than the rest."""
    published: tuple[str, ...]
    """The configurations that both have, in the published order: least first."""
    ours: tuple[str, ...]
    """The same in ours."""
    tau: float | None = None
    """Kendall's tau-b: 1 the same order, -1 the opposite one."""
    p_value: float | None = None
    """Two-sided; exact unless values tie."""
    p_least: float | None = None
    """The least p-value that so few configurations allow, 2 / n!, for perfect agreement."""
    refused: str = ""

    @property
    def n(self) -> int:
        """Number of configurations that both have."""
        return len(self.published)


@dataclass(frozen=True)
class OverallAgreement:
    """The agreement of one campaign over its models."""

    source: str
    by: By
    jit: bool
    models: int
    """Models with a tau."""
    median_tau: float | None
    compared: int
    """Models with two or more configurations that both have."""
    same_order: int
    """Those of them whose configurations stand in exactly the same order."""


def agreement(published: Sequence[Cell], ours: Sequence[Cell], by: By, jit: bool = True) -> tuple[RankAgreement, ...]:
    """Kendall's tau-b per model, between the published values and ours; for models that both have.

    Either side is of one source. Configurations are those that both have, without JIT unless `jit`. Below
    `LEAST_COMMON` of them the model is refused.

    Source: M. G. Kendall, The treatment of ties in ranking problems, Biometrika 33 (1945); scipy.stats.kendalltau.
    """
    theirs, own = values_of(published, by), values_of(ours, by)
    source = ours[0].source if ours else ""
    return tuple(_of_model(model, source, by, jit, theirs[model], own[model]) for model in own if model in theirs)


def overall(agreements: Sequence[RankAgreement]) -> OverallAgreement | None:
    """The median of tau over the models of one campaign; None without any model."""
    if not agreements:
        return None
    taus = [a.tau for a in agreements if a.tau is not None]
    compared = [a for a in agreements if a.n > 1]
    first = agreements[0]
    return OverallAgreement(
        source=first.source,
        by=first.by,
        jit=first.jit,
        models=len(taus),
        median_tau=statistics.median(taus) if taus else None,
        compared=len(compared),
        same_order=sum(a.published == a.ours for a in compared),
    )


def _of_model(
    model: str, source: str, by: By, jit: bool, theirs: Mapping[str, float], own: Mapping[str, float]
) -> RankAgreement:
    common = sorted((c for c in own if c in theirs and (jit or c not in JIT)), key=configuration_order)
    first = tuple(sorted(common, key=lambda c: theirs[c]))
    second = tuple(sorted(common, key=lambda c: own[c]))
    if len(common) < LEAST_COMMON:
        reason = f"{counted(len(common), 'configuration')} in common, fewer than {LEAST_COMMON}"
        return RankAgreement(model, source, by, jit, first, second, refused=reason)
    tau, p_value = _kendall([theirs[c] for c in common], [own[c] for c in common])
    if not isfinite(tau):
        return RankAgreement(model, source, by, jit, first, second, refused="all values of one side are equal")
    return RankAgreement(model, source, by, jit, first, second, tau, p_value, 2 / factorial(len(common)))


def _kendall(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    try:
        from scipy.stats import kendalltau
    except ImportError as error:
        raise UnavailableError("rank agreement needs SciPy", "pip install 'servewatt[study]'") from error
    found = kendalltau(first, second, variant="b")
    return float(found.statistic), float(found.pvalue)
