"""Configurations whose quality does not suffice leave the choice, each with the reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

from servewatt.errors import InputError
from servewatt.quality import Assessment, Quality
from servewatt.recommend.choose import choose
from servewatt.recommend.records import Constraints, Exclusion, Recommendation
from servewatt.records import Configuration, Status, Weights
from servewatt.stats.records import Analysis


@dataclass(frozen=True)
class QualityLimits:
    """What an output must be worth beside the reference's; None is no limit."""

    min_agreement: float | None = None
    """On the mean share of the output before its first difference, 0 to 1."""
    max_perplexity_ratio: float | None = None
    """On the upper end of the ratio's interval: good enough has to be shown."""


def choose_by_quality(
    analysis: Analysis, constraints: Constraints, quality: Quality, limits: QualityLimits
) -> Recommendation:
    """`servewatt.recommend.choose.choose` among the configurations whose quality suffices."""
    kept, excluded = exclude_by_quality(analysis, quality, limits)
    answer = choose(kept, constraints)
    answer = replace(answer, exclusions=(*excluded, *answer.exclusions))
    if excluded and not kept.summaries:
        answer = replace(answer, sentence="No configuration is good enough: none meets the limits on quality.")
    return answer


def exclude_by_quality(
    analysis: Analysis, quality: Quality, limits: QualityLimits
) -> tuple[Analysis, tuple[Exclusion, ...]]:
    """The analysis without the configurations that miss the limits, and why each does.

    Raises InputError if the quality is another model's, or a limit makes no sense.
    """
    _check(analysis, quality, limits)
    reasons = {s.configuration: quality_reason(s.configuration, quality, limits) for s in analysis.summaries}
    kept = tuple(s for s in analysis.summaries if reasons[s.configuration] is None)
    excluded = tuple(Exclusion(c, reason) for c, reason in reasons.items() if reason is not None)
    return replace(analysis, summaries=kept), excluded


def quality_reason(configuration: Configuration, quality: Quality, limits: QualityLimits) -> str | None:
    """Why the quality of a configuration does not suffice; None if it does."""
    found = quality.of(configuration)
    if found is None:
        return "its quality was not measured"
    if found.status is not Status.OK:
        return f"its quality is not known: {found.reason}"
    return _disagrees(found, limits.min_agreement) or _too_perplexed(found, limits.max_perplexity_ratio)


def _disagrees(found: Assessment, least: float | None) -> str | None:
    if least is None:
        return None
    if found.agreement is None:
        return "its agreement is not known: the reference did not answer"
    share = found.agreement.leading_share
    return f"agreement {share:.1%} is below {least:.1%}" if share < least else None


def _too_perplexed(found: Assessment, most: float | None) -> str | None:
    if most is None:
        return None
    ratio = found.perplexity.ratio if found.perplexity else None
    if ratio is None:
        return f"its perplexity ratio is not known: {found.no_perplexity or 'the reference has no perplexity'}"
    if ratio.high is None:
        return "its perplexity ratio has no interval: too few documents"
    if ratio.high > most:
        return f"perplexity ratio {ratio.estimate:.4f} (up to {ratio.high:.4f}) exceeds {most:g}"
    return None


def _check(analysis: Analysis, quality: Quality, limits: QualityLimits) -> None:
    least, most = limits.min_agreement, limits.max_perplexity_ratio
    if least is not None and not 0 <= least <= 1:
        raise InputError(f"an agreement of {least:g} makes no sense", "give a share from 0 to 1")
    if most is not None and not most > 0:
        raise InputError(f"a perplexity ratio of {most:g} can never be met", "such as 1.02")
    model = analysis.run.plan.model
    if not quality.is_of(model):
        raise InputError(
            f"the quality is that of {quality.model.name}, the run measured {model.name} (or another revision)",
            "run servewatt quality with the model of the run",
        )
    if most is not None and model.weights is Weights.RANDOM:
        raise InputError("random weights have no perplexity worth a limit", "leave out --max-perplexity-ratio")
