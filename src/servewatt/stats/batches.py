"""Energy per token against batch: families of configurations that differ in nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from servewatt.records import Configuration
from servewatt.stats.compare import compare, compare_blocks, comparison_alpha
from servewatt.stats.records import BatchCurve, ConfigurationSummary, Verdict


def family_of(configuration: Configuration) -> Configuration:
    """The configuration at batch 1: equal for those that differ in batch alone."""
    return replace(configuration, batch=1)


def batch_curves(summaries: Sequence[ConfigurationSummary], confidence: float) -> tuple[BatchCurve, ...]:
    """The curve of each family with energy at two batches or more, in the order of `summaries`.

    Batches are compared by blocks as configurations are, corrected for their number within the family. Each curve
    holds at `confidence` by itself; they are no part of the family of comparisons that decides between configurations.
    """
    families: dict[Configuration, list[ConfigurationSummary]] = {}
    for summary in summaries:
        if summary.energy_j_per_token is not None:
            families.setdefault(family_of(summary.configuration), []).append(summary)
    return tuple(_curve(members, confidence) for members in families.values() if len(members) > 1)


def _curve(members: Sequence[ConfigurationSummary], confidence: float) -> BatchCurve:
    points = sorted(members, key=lambda s: s.configuration.batch)
    alpha = comparison_alpha(confidence, len(points))

    def verdict(first: ConfigurationSummary, second: ConfigurationSummary) -> Verdict | None:
        comparison = compare(first, second, alpha)
        return comparison.verdict if comparison is not None else None

    # The least median may belong to a batch that paired blocks show to need more than another.
    unbeaten = [
        p for p in members if not any(verdict(p, other) is Verdict.HIGHER for other in points if other is not p)
    ]
    best = min(unbeaten or members, key=lambda s: s.energy_j_per_token.estimate if s.energy_j_per_token else 0.0)
    candidates = [p for p in points if p is best or verdict(best, p) is not Verdict.LOWER]
    smallest = points[0]
    against = None
    if best is not smallest:
        against = compare_blocks(dict(best.block_energy_j_per_token), dict(smallest.block_energy_j_per_token), alpha)
    return BatchCurve(tuple(points), best.configuration, tuple(c.configuration for c in candidates), against)
