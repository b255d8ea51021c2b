"""The study's battery of tests on one variable of one subject."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from servewatt.errors import InputError
from servewatt.study.tests.effects import omega_squared_ranks, omega_squared_welch
from servewatt.study.tests.explain import explanations
from servewatt.study.tests.findings import Battery, Effect, Finding
from servewatt.study.tests.groups import VARIANCE, Group, clean, constant, observation_count, scaled, too_few
from servewatt.study.tests.libraries import computed, library
from servewatt.study.tests.posthoc import dunn, frame, games_howell

SHAPIRO_WILK = "shapiro-wilk"
LEVENE = "levene"
WELCH = "welch-anova"
KRUSKAL_WALLIS = "kruskal-wallis"

SHAPIRO_MOST = 5000
"""Royston's approximation of the p-value holds up to this many observations."""


def run_battery(subject: str, variable: str, groups: Mapping[str, Sequence[float]], alpha: float = 0.05) -> Battery:
    """Shapiro-Wilk, Levene (median-centred), Welch ANOVA, Kruskal-Wallis, Dunn-Holm and Games-Howell.

    `groups` maps each group's name to its observations, in any unit. Observations that are not finite are left out,
    which a note tells (see `groups.clean`); a test that cannot be computed is a finding with the reason, and the
    others are computed all the same. Effect sizes: omega squared for the tests of location over all groups, Cliff's
    delta for pairs. Raises InputError for an `alpha` not between 0 and 1, UnavailableError without the libraries.
    """
    if not 0 < alpha < 1:
        raise InputError(f"a level of significance of {alpha:g} makes no sense", "give a share such as 0.05")
    usable, notes = clean(groups)
    cleaned = scaled(usable)
    present = [g for g in cleaned if g.n]
    findings = (
        *(shapiro_wilk(g) for g in cleaned),
        levene(present),
        welch_anova(present),
        kruskal_wallis(present),
        *dunn(cleaned),
        *games_howell(cleaned),
    )
    return Battery(
        subject,
        variable,
        alpha,
        tuple((g.name, g.n) for g in cleaned),
        findings,
        (*notes, *explanations(present, findings, alpha)),
    )


def shapiro_wilk(group: Group) -> Finding:
    """Are the values of one group normal? Needs 3 to 5000 of them, not all equal.

    Source: S. S. Shapiro and M. B. Wilk, Biometrika 52 (1965); p-value by J. P. Royston, Appl. Statist. 44 (1995).
    """
    if group.n < 3:
        refused = f"{observation_count(group.n)}; the test needs three"
    elif group.n > SHAPIRO_MOST:
        refused = f"{observation_count(group.n)}; its p-value is known for at most {SHAPIRO_MOST}"
    elif group.is_constant:
        refused = "all observations are equal"
    else:
        return _test(SHAPIRO_WILK, [group], lambda: library("scipy.stats").shapiro(group.values))
    return Finding(SHAPIRO_WILK, (group.name,), refused=refused)


def levene(groups: Sequence[Group]) -> Finding:
    """Have the groups equal variances? Deviations are taken from medians (Brown and Forsythe).

    Needs two observations in each group and three in one: two values are equally far from their median.

    Source: M. B. Brown and A. B. Forsythe, Robust tests for the equality of variances, JASA 69 (1974).
    """
    refused = _too_few_groups(groups) or too_few(groups, 2, VARIANCE)
    if not refused and all(g.n < 3 for g in groups):
        refused = "no group has three observations; two are always equally far from their median"
    elif not refused and all(g.is_constant for g in groups):
        refused = "no group varies"
    if refused:
        return Finding(LEVENE, _names(groups), refused=refused)
    return _test(LEVENE, groups, lambda: library("scipy.stats").levene(*_values(groups), center="median"))


def welch_anova(groups: Sequence[Group]) -> Finding:
    """Are the means equal, whatever the variances? Every group needs two observations that differ.

    Source: B. L. Welch, On the comparison of several mean values, Biometrika 38 (1951); computed by pingouin.
    """
    refused = _too_few_groups(groups) or too_few(groups, 2, VARIANCE)
    if not refused:
        same = "; ".join(g.name for g in groups if g.is_constant)
        refused = f"all observations are equal in {same}: the weight 1 / variance is infinite" if same else ""
    if refused:
        return Finding(WELCH, _names(groups), refused=refused)
    observations = sum(g.n for g in groups)
    return _test(
        WELCH,
        groups,
        lambda: _welch(groups),
        lambda f: omega_squared_welch(f, len(groups), observations, welch_degrees(groups)),
    )


def welch_degrees(groups: Sequence[Group]) -> float:
    """Welch's degrees of freedom within groups, each of which varies.

    (k^2 - 1) / (3 sum((1 - w_i / W)^2 / (n_i - 1))), with the weights w_i = n_i / s_i^2 and their sum W.
    """
    weights = [g.n / statistics.variance(g.values) for g in groups]
    lacking = [(1 - w / sum(weights)) ** 2 / (g.n - 1) for g, w in zip(groups, weights, strict=True)]
    return (len(groups) ** 2 - 1) / (3 * sum(lacking))


def kruskal_wallis(groups: Sequence[Group]) -> Finding:
    """Do the groups' ranks differ? Needs two groups, and two values that differ.

    Source: W. H. Kruskal and W. A. Wallis, Use of ranks in one-criterion variance analysis, JASA 47 (1952).
    """
    refused = _too_few_groups(groups)
    if not refused and constant(list(chain(*_values(groups)))):
        refused = "all observations of all groups are equal"
    if refused:
        return Finding(KRUSKAL_WALLIS, _names(groups), refused=refused)
    observations = sum(g.n for g in groups)
    return _test(
        KRUSKAL_WALLIS,
        groups,
        lambda: library("scipy.stats").kruskal(*_values(groups)),
        lambda h: omega_squared_ranks(h, len(groups), observations),
    )


def _test(
    test: str,
    groups: Sequence[Group],
    call: Callable[[], tuple[float, float]],
    effect: Callable[[float], Effect | None] = lambda _: None,
) -> Finding:
    numbers = computed(call)
    if numbers is None:
        why = "it finds no finite number: the values are too large or too close"
        return Finding(test, _names(groups), refused=why)
    return Finding(test, _names(groups), *numbers, effect=effect(numbers[0]))


def _welch(groups: Sequence[Group]) -> tuple[float, float]:
    table = library("pingouin").welch_anova(data=frame(groups), dv="value", between="group")
    # The p-value's column is called `p-unc` or `p_unc`, depending on pingouin's version.
    p_column = next(name for name in table.columns if name.startswith("p"))
    return table["F"].iloc[0], table[p_column].iloc[0]


def _too_few_groups(groups: Sequence[Group]) -> str:
    if len(groups) > 1:
        return ""
    only = f"only {groups[0].name} has observations" if groups else "no group has observations"
    return f"{only}; comparing needs two groups"


def _names(groups: Sequence[Group]) -> tuple[str, ...]:
    return tuple(g.name for g in groups)


def _values(groups: Sequence[Group]) -> list[tuple[float, ...]]:
    return [g.values for g in groups]
