"""servewatt's own decision on one variable of one model: configurations paired by block, undecided until it is sure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from servewatt.errors import InputError, counted, nearest
from servewatt.stats.compare import compare_blocks, comparison_alpha
from servewatt.stats.records import Interval, PairedRatio, Verdict
from servewatt.study.data.observations import VARIABLES, Observation, usable
from servewatt.study.data.samples import title_of


@dataclass(frozen=True)
class Against:
    """The best configuration against another one."""

    configuration: str
    """The other one."""
    ratio: Interval
    """Best over other: geometric mean over common blocks and its anytime-valid interval; by medians without any."""
    verdict: Verdict
    """`lower` where the best is shown to be below the other, and `undecided` else."""
    more_blocks: int | None
    """Blocks that would likely decide it; 0 if decided, None if no finite number can be told."""


@dataclass(frozen=True)
class Decision:
    """Which configuration of a model has the least of a variable, and how sure that is."""

    model: str
    variable: str
    confidence: float
    """At which all intervals hold together, however often one looks."""
    best: str
    others: tuple[Against, ...]
    """By their medians, least first."""
    unknown: tuple[str, ...]
    """Configurations without a valid trial that has a positive value."""
    sentence: str
    """The decision in words, with its interval."""

    @property
    def runner_up(self) -> Against | None:
        """The first of the others; None where the best is alone."""
        return self.others[0] if self.others else None

    @property
    def rivals(self) -> tuple[Against, ...]:
        """Those that cannot be told from the best; none if it is decided."""
        return tuple(a for a in self.others if a.verdict is not Verdict.LOWER)


def decide(
    observations: Sequence[Observation], variable: str = "energy_j_per_token", confidence: float = 0.95
) -> Decision | None:
    """The configuration that has least of `variable`, a field of Observation, and whether that is sure.

    `observations` are of one model; only valid trials enter, the last attempt of each block. The best one has the least
    median, unless paired blocks show that another is below it. Comparisons are those of `servewatt.stats.compare`,
    corrected for their number: `comparison_alpha`. None where no configuration has a positive value. Raises InputError
    for an unknown variable, or observations of several models.
    """
    titles = {v.name: v.title for v in VARIABLES}
    if variable not in titles:
        raise InputError(f"unknown variable {variable!r}", nearest(variable, titles))
    models = sorted({o.model for o in observations})
    if len(models) > 1:
        raise InputError(f"observations of several models: {', '.join(models)}", "decide on one model at a time")
    if not models:
        return None
    by_block = _by_block(usable(observations), variable)
    labels = dict.fromkeys(o.configuration for o in observations)
    return decide_by_block(models[0], variable, by_block, tuple(labels), confidence)


def decide_by_block(
    subject: str,
    variable: str,
    by_block: Mapping[str, Mapping[Hashable, float]],
    labels: Sequence[str],
    confidence: float = 0.95,
) -> Decision | None:
    """The group that has least of a variable, and whether that is sure; see `decide`.

    `by_block` maps group to block to a positive value; `labels` names all groups that were tried. None where no group
    has a value.
    """
    known = sorted(by_block, key=lambda label: (statistics.median(by_block[label].values()), label))
    if not known:
        return None
    alpha = comparison_alpha(confidence, len(known))

    def beaten(label: str) -> bool:
        against = (compare_blocks(by_block[label], by_block[other], alpha) for other in known if other != label)
        return any(a is not None and a.verdict is Verdict.HIGHER for a in against)

    best = next((label for label in known if not beaten(label)), known[0])
    others = tuple(_against(best, other, by_block, alpha) for other in known if other != best)
    unknown = tuple(label for label in labels if label not in by_block)
    sentence = _sentence(best, others, title_of(variable))
    return Decision(subject, variable, confidence, best, others, unknown, sentence)


def _by_block(valid: Iterable[Observation], variable: str) -> dict[str, dict[Hashable, float]]:
    """Configuration -> block -> positive value."""
    found: dict[str, dict[Hashable, float]] = {}
    for one in valid:
        value = getattr(one, variable)
        if value is not None and math.isfinite(value) and value > 0:
            found.setdefault(one.configuration, {})[one.run, one.block] = float(value)
    return found


def _against(best: str, other: str, by_block: Mapping[str, Mapping[Hashable, float]], alpha: float) -> Against:
    paired = compare_blocks(by_block[best], by_block[other], alpha)
    if paired is None:
        medians = [statistics.median(by_block[label].values()) for label in (best, other)]
        paired = PairedRatio(Interval(medians[0] / medians[1], None, None, 0), Verdict.UNDECIDED, None)
    return Against(other, paired.ratio, paired.verdict, paired.more_blocks)


def _sentence(best: str, others: Sequence[Against], title: str) -> str:
    if not others:
        return f"{best} is the only configuration with a known {title}, so there is nothing to compare it with."
    rivals = [a for a in others if a.verdict is not Verdict.LOWER]
    if not rivals:
        less = f"{percent_less(others[0].ratio)} less than {others[0].configuration}, the next"
        return f"{best} has the least {title}: {less} ({counted(others[0].ratio.n, 'block')})."
    names = [best, *(r.configuration for r in rivals)]
    ratio = f"{title} of {best} over {names[1]}: {_ratio(rivals[0].ratio)}"
    return f"Undecided between {', '.join(names[:-1])} and {names[-1]} ({ratio}); {_outlook(rivals)}."


def _outlook(rivals: Sequence[Against]) -> str:
    needed = [r.more_blocks for r in rivals]
    if None not in needed:
        more = max(n for n in needed if n is not None)
        return f"about {counted(more, 'more block')} would tell"
    if any(r.ratio.n == 0 for r in rivals):
        return "they share no block; measure them in one run"
    if any(r.ratio.n < 2 for r in rivals):
        return "how many more blocks would tell is not known from one"
    return "more blocks would hardly tell"


def percent_less(ratio: Interval) -> str:
    """`31.0 % [28.1, 33.7]` for a ratio of 0.69."""
    if ratio.low is None or ratio.high is None:
        return f"{100 * (1 - ratio.estimate):.1f} %"
    return f"{100 * (1 - ratio.estimate):.1f} % [{100 * (1 - ratio.high):.1f}, {100 * (1 - ratio.low):.1f}]"


def _ratio(ratio: Interval) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.estimate:.3f}, no interval from {counted(ratio.n, 'common block')}"
    if ratio.low <= 1 <= ratio.high and ratio.high > 10 * ratio.low:
        return f"{counted(ratio.n, 'block')}, too few to tell"
    return f"{ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], {counted(ratio.n, 'block')}"
