"""Rules out configurations whose quality is not shown to suffice, each with the reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

from servewatt.errors import InputError
from servewatt.quality import Assessment, Quality, says_alike
from servewatt.recommendation.choose import choose
from servewatt.recommendation.limits import check
from servewatt.recommendation.objective import Objective
from servewatt.recommendation.records import Constraints, Exclusion, LimitCheck, Recommendation, Standing
from servewatt.recommendation.sentence import describe_check
from servewatt.records import Configuration, Interval, Status, Weights
from servewatt.stats.quality import share_interval
from servewatt.stats.records import Analysis


@dataclass(frozen=True)
class QualityLimits:
    """Limits on output quality against the reference; None is no limit."""

    min_agreement: float | None = None
    """On the mean share of the output before its first difference, 0 to 1: the lower end of its interval."""
    max_perplexity_ratio: float | None = None
    """On the upper end of the ratio's interval: good enough has to be shown."""


def choose_by_quality(
    analysis: Analysis,
    constraints: Constraints,
    quality: Quality,
    limits: QualityLimits,
    *,
    objective: Objective = Objective.ENERGY,
) -> Recommendation:
    """`servewatt.recommendation.choose.choose` among the configurations whose quality suffices."""
    kept, excluded, found = exclude_by_quality(analysis, quality, limits)
    answer = choose(kept, constraints, excluded, objective=objective)
    if excluded and not kept.summaries and not any(e.not_shown for e in excluded):
        answer = replace(answer, sentence="No configuration is good enough: none meets the limits on quality.")
    return replace(answer, checks=(*found, *answer.checks))


def exclude_by_quality(
    analysis: Analysis, quality: Quality, limits: QualityLimits
) -> tuple[Analysis, tuple[Exclusion, ...], tuple[LimitCheck, ...]]:
    """The analysis without the configurations not shown to meet the limits, why each is out, and every limit judged.

    Raises InputError if the quality is another model's, or a limit makes no sense.
    """
    _check(analysis, quality, limits)
    kept, excluded, found = [], list[Exclusion](), list[LimitCheck]()
    for summary in analysis.summaries:
        exclusion, own = judge(summary.configuration, quality, limits)
        found += own
        if exclusion is None:
            kept.append(summary)
        else:
            # A configuration that was never measured has no energy, so its quality cannot matter.
            excluded.append(replace(exclusion, not_shown=exclusion.not_shown and summary.blocks > 0))
    return replace(analysis, summaries=tuple(kept)), tuple(excluded), tuple(found)


def judge(
    configuration: Configuration, quality: Quality, limits: QualityLimits
) -> tuple[Exclusion | None, tuple[LimitCheck, ...]]:
    """Why the quality of a configuration does not suffice (None if it does), and how it stands to each limit."""
    found = quality.of(configuration)
    if found is None:
        return Exclusion(configuration, "its quality was not measured"), ()
    if found.status is not Status.OK:
        return Exclusion(configuration, f"its quality is not known: {found.reason}"), ()
    asked = (_agreement(found, quality, limits), _perplexity(found, limits))
    judged = tuple(replace(c, configuration=configuration) for c in asked if isinstance(c, LimitCheck))
    unknown = next((text for text in asked if isinstance(text, str)), None)
    if unknown is not None:
        return Exclusion(configuration, unknown), judged
    broken = [c for c in judged if c.standing is Standing.NOT_MET]
    open_ = [] if broken else [c for c in judged if c.standing is Standing.NOT_SHOWN]
    if not broken and not open_:
        return None, judged
    text = "; ".join(map(describe_check, broken or open_))
    return Exclusion(configuration, text, not_shown=bool(open_)), judged


def _agreement(found: Assessment, quality: Quality, limits: QualityLimits) -> LimitCheck | str | None:
    """The limit on agreement with what was found, or why it is not known; None without a limit."""
    least = limits.min_agreement
    if least is None:
        return None
    if found.agreement is None:
        return "its agreement is not known: the reference did not answer"
    share, prompts = found.agreement.leading_share, found.agreement.prompts
    exact = says_alike(found.configuration, quality.reference)
    value = Interval(share, share, share, prompts) if exact else share_interval(share, prompts)
    return check(found.configuration, "agreement", "share", value, least, at_least=True)


def _perplexity(found: Assessment, limits: QualityLimits) -> LimitCheck | str | None:
    """The same for the limit on the perplexity ratio."""
    most = limits.max_perplexity_ratio
    if most is None:
        return None
    ratio = found.perplexity.ratio if found.perplexity else None
    if ratio is None:
        return f"its perplexity ratio is not known: {found.no_perplexity or 'the reference has no perplexity'}"
    return check(found.configuration, "perplexity ratio", "ratio", ratio, most)


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
