"""From a run to an answer: its analysis, and the configuration to choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from servewatt.advice import Action, Advice, Setting
from servewatt.errors import InputError
from servewatt.experiment.gathering import Found
from servewatt.models.shape import known_shape
from servewatt.recommendation.baseline import with_baseline
from servewatt.recommendation.choose import choose
from servewatt.recommendation.doubts import with_warnings
from servewatt.recommendation.objective import Objective, time_costs
from servewatt.recommendation.order import in_order_of_choice
from servewatt.recommendation.quality import QualityLimits, choose_by_quality
from servewatt.recommendation.records import Constraints, Recommendation
from servewatt.records import Boundary, Result, Run
from servewatt.stats.analyse import analyse
from servewatt.stats.quality import pool
from servewatt.stats.race.history import history, measured_seconds
from servewatt.stats.race.raced import Raced
from servewatt.stats.records import Analysis


@dataclass(frozen=True)
class Decided:
    """A run with everything computed from it."""

    found: Found
    analysis: Analysis
    recommendation: Recommendation

    @property
    def run(self) -> Run:
        return self.found.run

    @property
    def results(self) -> Sequence[Result]:
        return self.found.results


def decide(
    found: Found,
    *,
    boundary: Boundary | None = None,
    limits: Constraints | None = None,
    against: str | None = None,
    objective: Objective = Objective.ENERGY,
) -> Decided:
    """Analyse a run and choose from it. `boundary` is the plan's unless given.

    `against` is the configuration whose energy the choice's is set beside (`servewatt.recommendation.baseline`).
    `objective` is what is compared; the analysis then holds its costs and comparisons in place of those of energy.
    Raises InputError where the run has no such cost.
    """
    run, model = found.run, found.run.plan.model
    run = replace(run, plan=replace(run.plan, model=replace(model, shape=known_shape(model))))
    analysis = analyse(run, found.results, boundary=boundary)
    if objective is not Objective.ENERGY:
        analysis = replace(analysis, costs=time_costs(found.results, objective))
    quality = pool(found.qualities, [s.configuration for s in analysis.summaries])
    analysis = replace(analysis, quality=quality)
    recommendation = choose(analysis, limits or Constraints(), objective=objective)
    analysis = in_order_of_choice(analysis, recommendation)
    recommendation = with_warnings(analysis, recommendation, found.results)
    if objective is Objective.ENERGY:  # the baseline is told in joules
        recommendation = with_baseline(analysis, recommendation, against)
    analysis = replace(analysis, race=raced(analysis, recommendation, found.results))
    return Decided(replace(found, run=run), analysis, recommendation)


def within_quality(decided: Decided, limits: Constraints, wanted: QualityLimits) -> Recommendation:
    """The choice among the configurations whose outputs are good enough; as it was decided where nothing is `wanted`.

    Raises InputError where the quality of the configurations is not known.
    """
    if wanted == QualityLimits():
        return decided.recommendation
    if decided.analysis.quality is None:
        raise InputError(
            "limits on quality need measured quality, and that of these configurations is not known",
            Advice(Action.ASSESS_QUALITY.of(decided.run.plan.model.name), ", or ", Setting.QUALITY.to("FILE")),
        )
    objective = decided.recommendation.objective
    answer = choose_by_quality(decided.analysis, limits, decided.analysis.quality, wanted, objective=objective)
    analysis = in_order_of_choice(decided.analysis, answer)
    answer = with_warnings(analysis, answer, decided.results)
    return with_baseline(analysis, answer) if objective is Objective.ENERGY else answer


def raced(analysis: Analysis, answer: Recommendation, results: Sequence[Result]) -> tuple[Raced, ...]:
    """How the configurations that were compared came to the choice, in the order of the ranking; none without one."""
    if answer.choice is None:
        return ()
    out = {e.configuration.key for e in answer.exclusions}
    kept = [s.configuration.key for s in analysis.summaries if s.has_energy and s.configuration.key not in out]
    return history(
        analysis.all_costs.of(kept),
        answer.choice.key,
        kept,
        confidence=analysis.confidence,
        measured_s=measured_seconds(results),
    )
