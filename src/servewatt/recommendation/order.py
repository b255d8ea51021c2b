"""Orders the ranking by the recommendation, so that the first row is the configuration that the answer names first."""

from __future__ import annotations

from dataclasses import replace

from servewatt.recommendation.records import Recommendation
from servewatt.stats.race.pairs import compare_costs, in_order, standing_of
from servewatt.stats.race.rules import error_of_each
from servewatt.stats.records import Analysis


def in_order_of_choice(analysis: Analysis, recommendation: Recommendation) -> Analysis:
    """The analysis with the choice first, then those that it was chosen from, then excluded ones with energy.

    Comparisons are made again with the first, in each as the recommendation makes them: among those that it was chosen
    from by their blocks alone.
    """
    excluded = {e.configuration for e in recommendation.exclusions} - set(recommendation.candidates)
    known = [s for s in analysis.summaries if s.has_energy]
    feasible = {s.configuration.key: s for s in known if s.configuration not in excluded}
    others = [s for s in known if s.configuration in excluded]
    if not feasible:
        return analysis
    own = analysis.all_costs.of(feasible)
    order = in_order(own, standing_of(own, list(feasible), confidence=analysis.confidence, tie=recommendation.tie))
    summaries = [feasible[key] for key in order]
    first = summaries[0].configuration
    pairs = [(own, s.configuration, len(feasible)) for s in summaries[1:]]
    pairs += [(analysis.all_costs, s.configuration, len(known)) for s in others]
    comparisons = (
        compare_costs(costs, first, second, error=error_of_each(analysis.confidence, n), tie=recommendation.tie)
        for costs, second, n in pairs
    )
    rest = [s for s in analysis.summaries if not s.has_energy]
    return replace(
        analysis,
        summaries=(*summaries, *others, *rest),
        comparisons=tuple(c for c in comparisons if c is not None),
    )
