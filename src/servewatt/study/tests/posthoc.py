"""Tests of pairs: Dunn's test with Holm's correction, and the Games-Howell test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from servewatt.study.tests.effects import cliffs_delta
from servewatt.study.tests.findings import Finding
from servewatt.study.tests.groups import VARIANCE, Group, constant, too_few
from servewatt.study.tests.libraries import library, quiet

DUNN = "dunn-holm"
GAMES_HOWELL = "games-howell"

Pair = tuple[str, str]


def dunn(groups: Sequence[Group]) -> tuple[Finding, ...]:
    """Dunn's test of every pair; p-values corrected after Holm over the pairs.

    The statistic is z: the difference of mean ranks (first less second) over its standard deviation, ranks taken over
    all groups together and corrected for ties. p-values are scikit-posthocs'. Pairs with an empty group are refused,
    and the others are computed without it.

    Sources: O. J. Dunn, Multiple comparisons using rank sums, Technometrics 6 (1964); S. Holm, A simple sequentially
    rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    present = [g for g in groups if g.n]
    values = [v for g in present for v in g.values]
    why = "all observations of all groups are equal" if constant(values) else ""
    z = {} if why else dunn_z(present)
    p_values = {} if why or len(present) < 2 else _dunn_p_values(present)
    findings = []
    for first, second in combinations(groups, 2):
        pair = (first.name, second.name)
        refused = too_few([_smaller(first, second)], 1) or why
        findings.append(_finding(DUNN, first, second, z.get(pair), p_values.get(pair), refused))
    return tuple(findings)


def dunn_z(groups: Sequence[Group]) -> dict[Pair, float]:
    """Dunn's z of every pair, first less second; groups have values, not all of them equal.

    With N values in all and t_s of them equal to the s-th distinct one, the variance of a mean rank's difference is
    (N (N + 1) / 12 - sum(t_s^3 - t_s) / (12 (N - 1))) (1 / n_i + 1 / n_j).
    """
    ranks, tied = _ranks([v for g in groups for v in g.values])
    n = sum(g.n for g in groups)
    spread = n * (n + 1) / 12 - tied / (12 * (n - 1))
    means = {g.name: sum(ranks[v] for v in g.values) / g.n for g in groups}
    return {
        (a.name, b.name): (means[a.name] - means[b.name]) / math.sqrt(spread * (1 / a.n + 1 / b.n))
        for a, b in combinations(groups, 2)
    }


def normal_p(z: float) -> float:
    """The two-sided p-value of a standard normal statistic."""
    return math.erfc(abs(z) / math.sqrt(2))


def games_howell(groups: Sequence[Group]) -> tuple[Finding, ...]:
    """The Games-Howell test of every pair: Welch's t against the studentised range over all groups compared.

    The statistic is t, first less second. Its p-value is corrected for the number of groups by itself, and computed to
    about 1e-13: what is below may read as 0. Pairs with a group of fewer than two observations are refused, and the
    others are computed without it; pairs of which neither group varies are refused, because t would be infinite.

    Source: P. A. Games and J. F. Howell, Pairwise multiple comparison procedures with unequal n's and/or variances,
    J. Educ. Stat. 1 (1976); computed by pingouin.
    """
    usable = [g for g in groups if g.n >= 2]
    numbers = _games_howell_numbers(usable) if len(usable) > 1 else {}
    findings = []
    for first, second in combinations(groups, 2):
        refused = too_few([_smaller(first, second)], 2, VARIANCE)
        if not refused and first.is_constant and second.is_constant:
            refused = "neither group varies, so t has no scale"
        t, p_value = numbers.get((first.name, second.name), (None, None))
        findings.append(_finding(GAMES_HOWELL, first, second, t, p_value, refused))
    return tuple(findings)


def _smaller(first: Group, second: Group) -> Group:
    """The group that keeps a pair from being tested, if one does."""
    return min(first, second, key=lambda g: g.n)


def _finding(
    test: str, first: Group, second: Group, statistic: float | None, p_value: float | None, refused: str
) -> Finding:
    pair = (first.name, second.name)
    effect = cliffs_delta(first.values, second.values) if first.n and second.n else None
    if not refused and (statistic is None or p_value is None or not math.isfinite(statistic + p_value)):
        refused = "it finds no finite number: the values are too large or too close"
    if refused:
        return Finding(test, pair, effect=effect, refused=refused)
    return Finding(test, pair, statistic, p_value, effect=effect)


def _ranks(values: Sequence[float]) -> tuple[Mapping[float, float], int]:
    """Each distinct value's mean rank, and the sum of t^3 - t over ties of t values."""
    counts: dict[float, int] = {}
    for value in sorted(values):
        counts[value] = counts.get(value, 0) + 1
    ranks, below = {}, 0
    for value, count in counts.items():
        ranks[value] = below + (count + 1) / 2
        below += count
    return ranks, sum(t**3 - t for t in counts.values())


def _dunn_p_values(groups: Sequence[Group]) -> dict[Pair, float]:
    posthocs = library("scikit_posthocs")
    with quiet():
        table = posthocs.posthoc_dunn(frame(groups), "value", "group", p_adjust="holm", sort=False)
    return {(groups[i].name, groups[j].name): float(table.loc[i, j]) for i, j in combinations(range(len(groups)), 2)}


def _games_howell_numbers(groups: Sequence[Group]) -> dict[Pair, tuple[float, float]]:
    pingouin = library("pingouin")
    with quiet():
        table = pingouin.pairwise_gameshowell(data=frame(groups), dv="value", between="group", effsize="none")
    rows = zip(table["A"], table["B"], table["T"], table["pval"], strict=True)
    return {(groups[a].name, groups[b].name): (float(t), float(p)) for a, b, t, p in rows}


def frame(groups: Sequence[Group]) -> Any:
    """A table of values and group numbers; numbers, because libraries sort groups by name."""
    pandas = library("pandas")
    values = [v for g in groups for v in g.values]
    return pandas.DataFrame({"value": values, "group": [i for i, g in enumerate(groups) for _ in g.values]})
