"""The ranking as the recommendation sees it, so that what is shown first is what the sentence names first."""

from __future__ import annotations

from dataclasses import replace

from servewatt.recommend.records import Recommendation
from servewatt.stats.compare import compare, comparison_alpha
from servewatt.stats.records import Analysis


def in_order_of_choice(analysis: Analysis, recommendation: Recommendation) -> Analysis:
    """The analysis with those that were chosen from (or that could be) first, excluded ones with energy behind them.

    Comparisons are made again with the first. Those with the others it was chosen from are the recommendation's own;
    those with excluded ones are corrected for the number of all. The analysis itself where nothing that has energy is
    excluded, or everything is.
    """
    excluded = {e.configuration for e in recommendation.exclusions} - set(recommendation.candidates)
    known = [s for s in analysis.summaries if s.has_energy]
    feasible = [s for s in known if s.configuration not in excluded]
    others = [s for s in known if s.configuration in excluded]
    if not feasible or not others:
        return analysis
    first = feasible[0]
    alphas = [(s, comparison_alpha(analysis.confidence, len(feasible))) for s in feasible[1:]]
    alphas += [(s, comparison_alpha(analysis.confidence, len(known))) for s in others]
    comparisons = (compare(first, summary, alpha) for summary, alpha in alphas)
    rest = [s for s in analysis.summaries if not s.has_energy]
    return replace(
        analysis,
        summaries=(*feasible, *others, *rest),
        comparisons=tuple(c for c in comparisons if c is not None),
    )
