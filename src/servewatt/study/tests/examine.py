"""The study's tests and servewatt's decision side by side, for each model and variable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from servewatt.errors import InputError, nearest
from servewatt.records import Provider
from servewatt.stats.records import Verdict
from servewatt.study.data.csv_table import CsvTable
from servewatt.study.data.names import configuration_order
from servewatt.study.data.observations import VARIABLES, Observation, usable
from servewatt.study.tests.battery import run_battery
from servewatt.study.tests.decision import Against, Decision, decide
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
    """None for observations without blocks, and where no configuration has a positive value."""
    disagreements: tuple[str, ...] = ()
    """Where the decision and the tests of pairs differ, and why."""
    same_as: str = ""
    """The subject's variable that has the very same observations, such as global energy where the boundary is the GPU:
    the family counts their tests once."""


@dataclass(frozen=True)
class Document:
    """Everything that `servewatt study analyse` finds, as it prints it in JSON."""

    notes: tuple[str, ...]
    analyses: tuple[Examination, ...]


@dataclass(frozen=True)
class _Observed:
    """One variable of one subject, before its tests."""

    subject: str
    variable: str
    groups: Mapping[str, Sequence[float]]
    observations: tuple[Observation, ...]
    """All of the subject's."""

    @property
    def key(self) -> tuple[object, ...]:
        """The same for variables that have the same values."""
        return self.subject, tuple((label, tuple(values)) for label, values in self.groups.items())

    def battery(self, alpha: float) -> Battery:
        battery = run_battery(self.subject, self.variable, self.groups, alpha)
        return replace(battery, notes=(*_machines(usable(self.observations)), *battery.notes))


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
    observed = tuple(_observed(chosen, variables))
    first: dict[tuple[object, ...], _Observed] = {}
    for one in observed:
        first.setdefault(one.key, one)
    corrected = correct_family(one.battery(alpha) for one in first.values())
    batteries = dict(zip(first, corrected, strict=True))
    return tuple(_beside_decision(batteries[one.key], one) for one in observed)


def examine_csv(
    table: CsvTable, variable: str, subjects: Sequence[str] = (), alpha: float = 0.05
) -> tuple[Examination, ...]:
    """Every subject of a CSV table; without blocks there is no decision.

    Raises InputError for an unknown subject, or an `alpha` not between 0 and 1.
    """
    _check(subjects, {s.name for s in table.subjects}, "subject")
    found = (s for s in table.subjects if not subjects or s.name in subjects)
    return tuple(Examination(b) for b in correct_family(run_battery(s.name, variable, s.groups, alpha) for s in found))


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


def _observed(observations: Sequence[Observation], variables: Sequence[str]) -> Iterator[_Observed]:
    """The groups of each model, campaign and variable, with all of that model's observations in the campaign."""
    campaigns = {o.campaign for o in observations}
    for _, model, campaign in sorted({(o.parameters, o.model, o.campaign) for o in observations}):
        of_it = tuple(o for o in observations if (o.model, o.campaign) == (model, campaign))
        valid = usable(of_it)
        for variable in variables or [v.name for v in VARIABLES]:
            groups = _groups(of_it, valid, variable)
            if not any(map(len, groups.values())):
                continue
            subject = model if len(campaigns) == 1 else f"{model} ({campaign})"
            yield _Observed(subject, variable, groups, of_it)


def _groups(observations: Sequence[Observation], valid: Sequence[Observation], variable: str) -> dict[str, list[float]]:
    """Configuration -> values, without configurations that do not have the variable, such as a GPU's on a CPU.

    A configuration without a valid trial stays, as a group without observations.
    """
    tried = {o.configuration for o in observations if not variable.startswith("gpu_") or o.provider == Provider.CUDA}
    tried -= {o.configuration for o in valid}
    groups: dict[str, list[float]] = {label: [] for label in tried}
    for one in valid:
        value = getattr(one, variable)
        groups.setdefault(one.configuration, []).append(math.nan if value is None else float(value))
    measured = {label for label, values in groups.items() if not all(map(math.isnan, values))}
    return {label: groups[label] for label in sorted(measured | tried, key=configuration_order)}


def _machines(valid: Sequence[Observation]) -> tuple[str, ...]:
    machines = sorted({o.machine for o in valid})
    if len(machines) < 2:
        return ()
    return (f"these observations come from {len(machines)} machines, which the tests do not know",)


def _beside_decision(battery: Battery, observed: _Observed) -> Examination:
    same_as = battery.variable if battery.variable != observed.variable else ""
    if same_as:
        title = next((v.title for v in VARIABLES if v.name == same_as), same_as)
        note = f"the same observations as of {title}; the family counts their tests once"
        battery = replace(battery, variable=observed.variable, notes=(note, *battery.notes))
    decision = decide(observed.observations, battery.variable, 1 - battery.alpha)
    return Examination(battery, decision, () if decision is None else disagreements(battery, decision), same_as)


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
