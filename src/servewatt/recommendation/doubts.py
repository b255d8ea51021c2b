"""What may have deceived a choice, and whether it could overturn it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from servewatt.recommendation.objective import Objective, slice_cost
from servewatt.recommendation.records import Recommendation
from servewatt.records import Grade, Result, Status
from servewatt.stats.energy import counted_domains
from servewatt.stats.race.checks import Kind, Margins, RaceWarning, margins, race_warnings
from servewatt.stats.race.costs import energy_cost
from servewatt.stats.records import Analysis, ConfigurationSummary


def with_warnings(analysis: Analysis, answer: Recommendation, results: Sequence[Result]) -> Recommendation:
    """The answer with its warnings; `results` with their samples where throttling and clocks are to be seen.

    A counter's steps are told of only where they could overturn the choice, as every coarse counter has some; estimates
    only where one is inside the boundary.
    """
    if answer.choice is None:
        return answer
    out = {e.configuration.key for e in answer.exclusions}
    costs = analysis.all_costs
    kept = costs.of(s.configuration.key for s in analysis.summaries if s.configuration.key not in out)
    ahead = margins(kept.episodes, answer.choice.key, answer.tie)
    valid = [r for r in results if r.status is Status.OK]
    domains = counted_domains(analysis.boundary, analysis.run.environment.domains, valid)
    of_energy = answer.objective is Objective.ENERGY
    cost = energy_cost(domains) if of_energy else slice_cost(answer.objective)
    found = [
        *race_warnings(results, costs, cost, ahead, cpu_count=analysis.run.environment.cpu_count),
        *beyond_the_limit(analysis.summaries, ahead),
    ]
    estimated = of_energy and any(Grade.ESTIMATED.value in s.energy_grade for s in analysis.summaries)
    told = [
        w
        for w in found
        if (w.could_overturn or w.kind is not Kind.QUANTUM)
        and (of_energy or w.kind is not Kind.QUANTUM)
        and (estimated or w.kind is not Kind.ESTIMATED)
    ]
    return replace(answer, warnings=tuple(sorted(told, key=lambda warning: not warning.could_overturn)))


def beyond_the_limit(summaries: Sequence[ConfigurationSummary], ahead: Margins) -> Iterator[RaceWarning]:
    """Size: time of decoding over the least that memory and arithmetic allow, by its upper bound.

    Less than 1 is a fault of the measurement, of unknown size. It could overturn the choice where it is the choice.
    """
    for summary in summaries:
        times = summary.limit.times_floor if summary.limit is not None else None
        high = None if times is None else times.high if times.high is not None else times.estimate
        if high is not None and high < 1 and summary.limit is not None:
            key = summary.configuration.key
            what = "memory can deliver" if summary.limit.bound_by == "memory" else "the device can compute"
            text = (
                f"{key} decodes in {100 * high:.0f} % of the time that its work takes at the rate that {what}: nothing "
                "is that fast, so its time or that rate is measured wrongly"
            )
            yield RaceWarning(Kind.LIMIT, key, high, 1.0, text, key == ahead.choice)
