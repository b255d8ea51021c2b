"""The study's tests and servewatt's decision side by side, for each model and variable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from servewatt.errors import InputError, nearest
from servewatt.stats.records import Verdict
from servewatt.study.data.csv_table import CsvTable
from servewatt.study.data.observations import VARIABLES, Observation, usable
from servewatt.study.data.samples import Sample, from_csv, from_observations, title_of
from servewatt.study.tests.battery import run_battery
from servewatt.study.tests.conclusion import conclude
from servewatt.study.tests.decision import Against, Decision, decide, decide_by_block
from servewatt.study.tests.describe import Description, describe
from servewatt.study.tests.differences import PairDifference, differences
from servewatt.study.tests.explain import span
from servewatt.study.tests.family import correct_family
from servewatt.study.tests.findings import Battery, Finding
from servewatt.study.tests.posthoc import DUNN, GAMES_HOWELL

_TITLES = {DUNN: "Dunn-Holm", GAMES_HOWELL: "Games-Howell"}

Judged = Sequence[tuple[Against, Finding]]
"""Other configurations with a test's finding on them and the best."""

JIT = "torchscript"
"""The engine that the published study left out of its statistics."""


@dataclass(frozen=True)
class Examination:
    """One variable of one subject."""

    battery: Battery
    """Its tests, corrected over everything analysed with it."""
    decision: Decision | None = None
    """None for observations without blocks, and where no group has a positive value."""
    disagreements: tuple[str, ...] = ()
    """Where the decision and the tests of pairs differ, and why."""
    same_as: str = ""
    """The subject's variable that has the very same observations, such as global energy where the boundary is the GPU:
    the family counts their tests once."""
    descriptions: tuple[Description, ...] = ()
    """Descriptive statistics, group by group."""
    differences: tuple[PairDifference, ...] = ()
    """Pair by pair, in ratios with intervals."""
    conclusion: str = ""
    """What the sample shows, in a sentence: the decision's, or without blocks that of `conclusion.conclude`."""


@dataclass(frozen=True)
class Document:
    """Everything that `servewatt study analyse` finds, as it prints it in JSON."""

    notes: tuple[str, ...]
    analyses: tuple[Examination, ...]


def examine_observations(
    observations: Sequence[Observation],
    variables: Sequence[str] = (),
    models: Sequence[str] = (),
    *,
    without_jit: bool = False,
    alpha: float = 0.05,
) -> tuple[Examination, ...]:
    """Every variable of every model and campaign; all that have data unless `variables` or `models` are named.

    Only valid trials enter, the last attempt of each block. A configuration without any is a group without
    observations. Campaigns are subjects of their own, because their machines differ. Variables of a subject that have
    the same observations are tested and counted once. Raises InputError for an unknown variable or model, if nothing
    remains, or an `alpha` not between 0 and 1.
    """
    _check(variables, [v.name for v in VARIABLES], "variable")
    _check(models, {o.model for o in observations}, "model")
    chosen = [o for o in observations if (not models or o.model in models) and not (without_jit and o.engine == JIT)]
    if not usable(chosen):
        raise InputError("no valid observation is left to analyse", "see `servewatt study run` and the options given")
    samples = tuple(from_observations(chosen, variables))
    batteries = _batteries([sample for sample, _ in samples], alpha)
    return tuple(
        _examined(sample, batteries[sample.key], decide(of_it, sample.variable, 1 - alpha)) for sample, of_it in samples
    )


def examine_csv(
    table: CsvTable, variable: str, subjects: Sequence[str] = (), alpha: float = 0.05
) -> tuple[Examination, ...]:
    """Every subject of a CSV table; without blocks there is no decision, but a conclusion all the same.

    Raises InputError for an unknown subject, or an `alpha` not between 0 and 1.
    """
    _check(subjects, {s.name for s in table.subjects}, "subject")
    samples = [s for s in from_csv(table, variable) if not subjects or s.subject in subjects]
    batteries = _batteries(samples, alpha)
    found = []
    for sample in samples:
        names = [g.name for g in sample.groups if g.values]
        decision = (
            decide_by_block(sample.subject, variable, sample.by_block, names, 1 - alpha) if sample.paired else None
        )
        found.append(_examined(sample, batteries[sample.key], decision))
    return tuple(found)


def _batteries(samples: Sequence[Sample], alpha: float) -> dict[tuple[object, ...], Battery]:
    """Sample's key -> its tests, corrected over all; samples that have the same values are tested and counted once."""
    first: dict[tuple[object, ...], Sample] = {}
    for one in samples:
        first.setdefault(one.key, one)
    corrected = correct_family(_tested(one, alpha) for one in first.values())
    return dict(zip(first, corrected, strict=True))


def _tested(sample: Sample, alpha: float) -> Battery:
    battery = run_battery(sample.subject, sample.variable, sample.values, alpha)
    return replace(battery, notes=(*sample.notes, *battery.notes))


def _examined(sample: Sample, battery: Battery, decision: Decision | None) -> Examination:
    same_as = battery.variable if battery.variable != sample.variable else ""
    if same_as:
        note = f"the same observations as of {title_of(same_as)}; the family counts their tests once"
        battery = replace(battery, variable=sample.variable, notes=(note, *battery.notes))
    confidence = 1 - battery.alpha
    return Examination(
        battery,
        decision,
        () if decision is None else disagreements(battery, decision),
        same_as,
        describe(sample),
        differences(sample, confidence),
        conclude(sample, confidence) if decision is None else decision.sentence,
    )


def disagreements(battery: Battery, decision: Decision) -> tuple[str, ...]:
    """Where the decision and a test of pairs judge the best configuration and others differently, and why."""
    told: list[str] = []
    for test in (DUNN, GAMES_HOWELL):
        judged = [
            (other, finding)
            for other in decision.others
            if (finding := _pair(battery, test, decision.best, other.configuration)) is not None
        ]
        differing = [(o, f) for o, f in judged if _decided(o) != (f.p_value is not None and f.p_value < battery.alpha)]
        hidden = [(o, f) for o, f in differing if _decided(o)]
        apart = [(o, f) for o, f in differing if not _decided(o) and not o.ratio.n]
        early = [(o, f) for o, f in differing if not _decided(o) and o.ratio.n]
        told += [_hidden(test, hidden, battery, decision)] if hidden else []
        told += [_early(test, early, decision)] if early else []
        if apart:
            told.append(
                f"{_TITLES[test]} tells {decision.best} from {_named(apart)} ({_p(apart)}); the decision cannot pair "
                "them, because they share no block"
            )
    return tuple(told)


def _pair(battery: Battery, test: str, first: str, second: str) -> Finding | None:
    """The finding of a pair, if it was computed."""
    pair = {first, second}
    return next((f for f in battery.findings if f.test == test and not f.refused and set(f.groups) == pair), None)


def _decided(other: Against) -> bool:
    return other.verdict is not Verdict.UNDECIDED


def _hidden(test: str, hidden: Judged, battery: Battery, decision: Decision) -> str:
    """Decided, but not told apart."""
    groups = sum(n > 0 for _, n in battery.groups)
    if test == DUNN:
        z = span([abs(f.statistic or 0.0) for _, f in hidden], ".2f")
        shown, why = (
            f"{_p(hidden)}, z = {z}",
            f"it sees ranks among all {groups} groups, and neither distances nor blocks",
        )
    else:
        shown = _p(hidden)
        why = (
            f"it counts the scatter between blocks, which pairing removes, and corrects for all {math.comb(groups, 2)} "
            f"pairs rather than the {len(decision.others)} with the best"
        )
    return (
        f"paired blocks decide between {decision.best} and {_named(hidden)}, {_TITLES[test]} does not tell them apart "
        f"({shown}): {why}"
    )


def _early(test: str, early: Judged, decision: Decision) -> str:
    """Told apart, but not decided yet."""
    blocks = span([o.ratio.n for o, _ in early], "d")
    return (
        f"{_TITLES[test]} tells {decision.best} from {_named(early)} ({_p(early)}), the decision does not yet: its "
        f"intervals must hold after every block, and all at once, which {blocks} block{'' if blocks == '1' else 's'} "
        "cannot show yet"
    )


def _named(judged: Judged) -> str:
    names = [o.configuration for o, _ in judged]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _p(judged: Judged) -> str:
    return f"p = {span([f.p_value or 0.0 for _, f in judged], '.2g')}"


def _check(names: Sequence[str], known: Sequence[str] | set[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"there is no {what} {name!r}", nearest(name, known))
