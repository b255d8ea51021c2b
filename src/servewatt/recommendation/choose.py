"""From an analysis and a user's limits to one reasoned choice and its promise."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from servewatt.errors import InputError, counted
from servewatt.recommendation.limits import checks, needed_blocks
from servewatt.recommendation.objective import Objective
from servewatt.recommendation.records import Beaten, Constraints, Exclusion, LimitCheck, Recommendation, Standing
from servewatt.recommendation.sentence import (
    could_too,
    describe_check,
    energy,
    nothing_feasible,
    nothing_shown,
    only_one,
    serve_for_now,
    serve_with,
    twins,
)
from servewatt.records import Configuration, Grade, Status, Via
from servewatt.stats.race.pairs import compare_costs, in_order, standing_of
from servewatt.stats.race.rules import TIE, error_of_each
from servewatt.stats.records import Analysis, Comparison, ConfigurationSummary, Verdict


def choose(
    analysis: Analysis,
    constraints: Constraints,
    excluded: Sequence[Exclusion] = (),
    *,
    tie: float | None = None,
    objective: Objective = Objective.ENERGY,
) -> Recommendation:
    """The configuration of least cost (`objective`) among those shown to meet `constraints`, and how sure that is.

    `excluded` are configurations of the run that are already ruled out. A limit counts as met where the whole interval
    is within it (`servewatt.recommendation.limits`); those not shown to meet one are left out and named. Of the
    others the choice is the one of which most can be promised: that nothing else saves more than a share of its cost
    (`servewatt.stats.race`). The costs in `analysis` must be those of `objective`. It is decided once that share is
    below `tie`, by default the race's own or 3 %. The error of each comparison is corrected for the number of the
    feasible ones, which are taken as given.

    Raises InputError if a limit is not a positive number.
    """
    _check(constraints)
    feasible: list[ConfigurationSummary] = []
    exclusions, found = list(excluded), list[LimitCheck]()
    measured = {s.configuration for s in analysis.summaries if s.blocks}
    for summary in analysis.summaries:
        own = checks(summary, constraints, analysis.confidence) if summary.blocks else ()
        found += own
        exclusion = _exclusion(summary, constraints, own) or _twin(summary.configuration, measured)
        if exclusion is None:
            feasible.append(summary)
        else:
            exclusions.append(exclusion)
    limited = constraints != Constraints() or bool(excluded)
    if not feasible:
        answer = _nothing(analysis, constraints, exclusions, found)
    elif len(feasible) == 1:
        alone = feasible[0]
        sentence = only_one(alone, exclusions, limited, constraints, analysis.boundary)
        answer = Recommendation(constraints, alone.configuration, (alone.configuration,), None, (), sentence, 0)
    else:
        answer = _decide(analysis, constraints, feasible, _tie(analysis, tie), objective)
    if feasible:
        answer = replace(answer, sentence=answer.sentence + could_too(exclusions))
    return replace(answer, objective=objective, exclusions=tuple(exclusions), checks=tuple(found))


def _tie(analysis: Analysis, asked: float | None) -> float:
    race = analysis.run.plan.race
    tie = asked if asked is not None else race.tie if race is not None else TIE
    if not 0 < tie < 1:
        raise InputError(f"a tie of {tie:g} makes no sense", "give a share between 0 and 1, such as 3%")
    return tie


def _check(constraints: Constraints) -> None:
    values = {
        "latency": constraints.max_latency_p95_s,
        "time to first token": constraints.max_ttft_s,
        "memory": constraints.max_memory_bytes,
    }
    if constraints.concurrency is not None and constraints.concurrency < 1:
        raise InputError(f"a concurrency of {constraints.concurrency} makes no sense", "give a whole number from 1")
    for name, value in values.items():
        if value is not None and not value > 0:
            raise InputError(f"a limit of {value:g} on {name} can never be met", "give a positive number, or no limit")


def _exclusion(
    summary: ConfigurationSummary, constraints: Constraints, found: Sequence[LimitCheck]
) -> Exclusion | None:
    """Why a configuration is not feasible; None if it is."""
    reason = _unasked(summary.configuration, constraints) or _no_energy(summary)
    if reason is not None:
        return Exclusion(summary.configuration, reason)
    broken = [c for c in found if c.standing in {Standing.NOT_MET, Standing.NOT_MEASURED}]
    if not broken:
        broken = [c for c in found if c.standing is Standing.NOT_SHOWN]
    if not broken:
        return None
    text = "; ".join(map(describe_check, broken))
    return Exclusion(summary.configuration, text, not_shown=broken[0].standing is Standing.NOT_SHOWN)


def _no_energy(summary: ConfigurationSummary) -> str | None:
    if summary.blocks == 0:
        return _why_not_measured(summary)
    if summary.energy_j_per_token is None:
        return "its energy was not metered"
    if summary.energy_j_per_token.estimate <= 0:
        return "its energy reads as zero or less: the counter is too coarse for the window"
    return None


def _unasked(configuration: Configuration, constraints: Constraints) -> str | None:
    """Why a configuration is ruled out regardless of its measurements; None if it is not."""
    provider, batch, concurrency = configuration.provider, configuration.batch, constraints.concurrency
    if constraints.provider is not None and provider is not constraints.provider:
        return f"runs on {provider.value}, not {constraints.provider.value}"
    if concurrency is not None and batch > concurrency:
        return f"a batch of {batch} is never full with {counted(concurrency, 'request')} at a time"
    return None


def _why_not_measured(summary: ConfigurationSummary) -> str:
    worst = next((c for c in summary.statuses if c.status is not Status.OK), None)
    if worst is None:
        return "not measured yet"
    return f"{worst.status.value.replace('_', ' ')}{': ' + worst.reason if worst.reason else ''}"


def _twin(configuration: Configuration, measured: Collection[Configuration]) -> Exclusion | None:
    """An engine measured in process and through HTTP is one choice, not two: the difference is reported as HTTP's
    share."""
    twin = replace(configuration, via=Via.PROCESS)
    if configuration.via is Via.PROCESS or twin not in measured:
        return None
    return Exclusion(configuration, f"is {twin.key} through HTTP")


def _decide(
    analysis: Analysis,
    constraints: Constraints,
    feasible: Sequence[ConfigurationSummary],
    tie: float,
    objective: Objective,
) -> Recommendation:
    """Among two or more feasible configurations with known energy: the one of which most can be promised."""
    costs = analysis.all_costs.of(s.configuration.key for s in feasible)
    by_key = {s.configuration.key: s for s in feasible}
    compared = list(by_key)
    reached = standing_of(costs, compared, confidence=analysis.confidence, tie=tie)
    assert reached is not None
    choice = by_key[reached.choice].configuration
    error = error_of_each(analysis.confidence, len(compared))
    others = [by_key[key].configuration for key in in_order(costs, reached) if key != choice.key]
    comparisons = [c for o in others if (c := compare_costs(costs, choice, o, error=error, tie=tie)) is not None]
    rivals = [c for c in comparisons if c.second.key not in reached.dropped and c.verdict is not Verdict.LOWER]
    grades = {s.configuration: s.energy_grade for s in feasible}
    closest = next((c for c in comparisons if c.second.key == reached.runner_up), (rivals or comparisons)[0])
    decided = reached.promise < tie
    needed = [0] if decided else [c.more_blocks for c in rivals]
    more = None if None in needed else max((n for n in needed if n is not None), default=0)
    candidates = (choice, *(c.second for c in rivals))
    of_energy = objective is Objective.ENERGY
    what = f"{energy(_grade(closest, grades), analysis.boundary) if of_energy else objective.words} per token"
    if not rivals:
        sentence = serve_with(closest, what, constraints)
    else:
        sentence = serve_for_now(candidates, closest, reached.promise, more, what, constraints, decided=decided)
    gone = sorted(reached.dropped.items(), key=lambda item: (item[1].episode, -item[1].ratio_low))
    beaten = tuple(
        Beaten(by_key[key].configuration, d.episode, by_key[d.beaten_by].configuration, d.ratio_low) for key, d in gone
    )
    floor = math.expm1(costs.least_claim) if costs.floor is not None else None
    answer = Recommendation(constraints, choice, candidates, closest, (), sentence + twins(floor), more)
    return replace(answer, promise=reached.promise, beaten=beaten, tie=tie, floor=floor)


def _grade(comparison: Comparison, grades: dict[Configuration, str]) -> str:
    """The name of a comparison's joules if not all were counted: `estimated`, `partly estimated` ..."""
    kinds = [kind for key in (comparison.first, comparison.second) for kind in grades[key].split(" + ")]
    order = [grade.value for grade in Grade]
    least = max(kinds, key=order.index)
    if least == Grade.COUNTER.value:
        return ""
    return least if set(kinds) == {least} else f"partly {least}"


def _nothing(
    analysis: Analysis, constraints: Constraints, exclusions: Sequence[Exclusion], found: Sequence[LimitCheck]
) -> Recommendation:
    """The answer without a choice: the configurations that could still meet the limits, or else the nearest ones."""
    could = tuple(e for e in exclusions if e.not_shown)
    if could:
        needed = [needed_blocks([c for c in found if c.configuration == e.configuration]) for e in could]
        more = min((n for n in needed if n is not None), default=None)
        sentence = nothing_shown(could)
        return Recommendation(constraints, None, tuple(e.configuration for e in could), None, (), sentence, more)
    suited = {
        s.configuration
        for s in analysis.summaries
        if _unasked(s.configuration, constraints) is None and _no_energy(s) is None
    }
    asked = [c for c in found if c.configuration in suited]
    sentence = nothing_feasible(_nearest_miss(asked), _alone(asked), analysis)
    return Recommendation(constraints, None, (), None, (), sentence, None)


def _nearest_miss(found: Sequence[LimitCheck]) -> LimitCheck | None:
    """Of the configurations that only limits exclude, the worst limit of the one nearest to meeting all."""
    worst: dict[Configuration, LimitCheck] = {}
    for check in found:
        if check.configuration not in worst or check.excess > worst[check.configuration].excess:
            worst[check.configuration] = check
    known = [c for c in worst.values() if c.estimate is not None]
    return min(known, key=lambda c: c.excess, default=None)


def _alone(found: Sequence[LimitCheck]) -> tuple[LimitCheck, ...] | None:
    """Of several limits, each that excludes every configuration by itself, by what comes nearest to it.

    Empty where each is met by some configuration and only together by none; None where there is one limit, or where
    neither is known.
    """
    names = list(dict.fromkeys(c.name for c in found))
    if len(names) < 2:
        return None
    alone = []
    for name in names:
        own = [c for c in found if c.name == name]
        if all(c.standing is Standing.NOT_MET for c in own) and len(own) == len({c.configuration for c in found}):
            alone.append(min(own, key=lambda c: c.excess))
    met = {c.name for c in found if c.standing is Standing.MET}
    return tuple(alone) if alone or met == set(names) else None
