"""The recommendation in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from servewatt.errors import counted
from servewatt.recommendation.records import Constraints, Exclusion, LimitCheck, Standing
from servewatt.records import Boundary, Configuration
from servewatt.stats.records import Analysis, Comparison, ConfigurationSummary, Interval

MOST_NAMES = 4
"""More candidates than this are counted, not named."""


def serve_with(comparison: Comparison, what: str, constraints: Constraints) -> str:
    """A choice, and by how much it beats the runner-up in `what` (`energy per token`)."""
    less = f"{saving(comparison.ratio)} less {what}"
    answer = f"Serve with {comparison.first.key}: it needs {less} than {comparison.second.key}, the runner-up."
    return answer + traffic(comparison.first, constraints)


def traffic(choice: Configuration, constraints: Constraints) -> str:
    """The traffic that a batch needs, unless the user has said how many requests wait at a time."""
    if choice.batch == 1 or constraints.concurrency is not None:
        return ""
    return f" It takes {choice.batch} requests at a time: --concurrency N leaves out batches larger than yours."


def serve_for_now(
    candidates: Sequence[Configuration],
    closest: Comparison,
    promise: float,
    more_blocks: int | None,
    what: str,
    constraints: Constraints,
    *,
    decided: bool,
) -> str:
    """A choice that is not shown to beat all others, what another may save, and what would tell.

    `closest` is the choice beside the one that may save the most, at most the share `promise`.
    """
    choice, rival = closest.first, closest.second
    if decided:
        others = [c.key for c in candidates if c not in (choice, rival)]
        so = f" The same holds of {_listed(others)}." if others else ""
        close = f"Serve with {choice.key}: nothing else measured saves more than {share(promise)} of its {what}"
        return f"{close} ({rival.key}: ratio {ratio(closest.ratio)}).{so}{traffic(choice, constraints)}"
    others = [c.key for c in candidates if c != choice]
    if promise >= WIDEST_PROMISE or _says_nothing(closest.ratio) or closest.ratio.n == 0:
        few = "1 block is" if closest.ratio.n == 1 else f"{counted(closest.ratio.n, 'block')} are"
        measure = "no block has both" if closest.ratio.n == 0 else f"{few} too few to compare their {what}"
        answer = f"Serve with {choice.key} for now: it is not shown to beat {_listed(others)} yet ({measure})"
    else:
        measure = f"{choice.key} to {rival.key} {ratio(closest.ratio)} in {what}"
        answer = f"Serve with {choice.key} for now: {_listed(others)} might save up to {share(promise)} ({measure})"
    return f"{answer}; {_more(more_blocks, closest)}.{traffic(choice, constraints)}"


WIDEST_PROMISE = 0.8
"""A larger share is no promise."""


def share(value: float) -> str:
    """A share as a percentage, rounded up: a promise must not say less than it can."""
    percent = max(0.1, 100 * value)
    digits = 1 if percent < 10 else 0
    return f"{math.ceil(percent * 10**digits - 1e-9) / 10**digits:.{digits}f} %"


def _more(more_blocks: int | None, closest: Comparison) -> str:
    if more_blocks is not None:
        return f"about {counted(more_blocks, 'more block')} would tell"
    if closest.ratio.n < 2:
        return "how many more blocks would tell is not known yet"
    return "more blocks would hardly tell"


def only_one(
    summary: ConfigurationSummary,
    exclusions: Sequence[Exclusion],
    limited: bool,
    constraints: Constraints,
    boundary: Boundary,
) -> str:
    """A choice without a rival; `limited` tells whether any limit was given."""
    if not exclusions:
        why = "it is the only configuration measured"
    elif not limited:
        why = "it is the only configuration with a valid measurement"
    elif any(e.not_shown for e in exclusions):
        why = "it is the only configuration shown to meet the limits"
    else:
        why = "it is the only configuration that meets the limits"
    grade = summary.energy_grade
    label = "" if grade in ("", "counter") else f"partly {grade.split(' + ')[-1]}" if "+" in grade else grade
    value = summary.energy_j_per_token
    amount = f" ({value.estimate:.3g} J of {energy(label, boundary)} per token)" if value else ""
    answer = f"Serve with {summary.configuration.key}: {why}{amount}, so there is nothing to compare it with."
    return answer + traffic(summary.configuration, constraints)


def could_too(exclusions: Sequence[Exclusion]) -> str:
    """Those left out only because they are not shown to meet the limits yet; empty for none."""
    names = [e.configuration.key for e in exclusions if e.not_shown]
    return f" Not shown to meet the limits yet: {_listed(names)}." if names else ""


def nothing_shown(could: Sequence[Exclusion]) -> str:
    """No choice, because none is shown to meet the limits, though some could."""
    first = f"{could[0].configuration.key} could: {could[0].reason}"
    others = [e.configuration.key for e in could[1:]]
    return f"No configuration is shown to meet the limits yet; {first}." + (
        f" So could {_listed(others)}." if others else ""
    )


def nothing_feasible(nearest: LimitCheck | None, alone: Sequence[LimitCheck] | None, analysis: Analysis) -> str:
    """The answer without a choice, and the nearest configuration.

    `alone`: of several limits those that exclude every configuration by themselves (none: only together they do).
    """
    if nearest is not None:
        missed = f"{describe_check(nearest)} ({over(nearest.excess)})"
        answer = f"No configuration meets the limits; {nearest.configuration.key} comes nearest: {missed}."
        return answer + _to_blame(alone)
    if not any(s.blocks for s in analysis.summaries):
        return "No configuration has a valid trial yet."
    return "No configuration is feasible: see the reason beside each."


def _to_blame(alone: Sequence[LimitCheck] | None) -> str:
    if alone is None:
        return ""
    if not alone:
        return " Each limit alone is met by some configuration; no configuration meets all of them."
    parts = []
    for check in alone:
        enough = check.high if check.high is not None else check.limit
        parts.append(
            f" The limit on {check.name} alone excludes every configuration; it would have to be "
            f"{_amount(enough, check)} for {check.configuration.key}."
        )
    return "".join(parts)


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence; beyond MOST_NAMES they are counted."""
    shown = list(names)
    if len(shown) > MOST_NAMES:
        shown[MOST_NAMES - 1 :] = [f"{len(shown) - MOST_NAMES + 1} others"]
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]


def twins(floor: float | None) -> str:
    """What a configuration differed from itself by, where it was measured twice at once; empty where it was not."""
    if floor is None:
        return ""
    return f" Measured twice at once it differs from itself by {100 * floor:.2g} %: less is not claimed."


def energy(grade: str, boundary: Boundary) -> str:
    """`energy`, with its grade unless counted, and its boundary unless it is the machine."""
    where = "" if boundary is Boundary.MACHINE else f"{boundary.value.upper()} "
    return f"{grade} {where}energy".strip()


def saving(interval: Interval) -> str:
    """A ratio below one as the percentage saved, `31 % [28, 34]`, to the digits that its interval supports."""
    value = 100 * (1 - interval.estimate)
    if interval.low is None or interval.high is None:
        return f"{value:.0f} %"
    low, high = 100 * (1 - interval.high), 100 * (1 - interval.low)
    digits = _digits(min(high - low, 3 * low))
    return f"{value:.{digits}f} % [{low:.{digits}f}, {high:.{digits}f}]"


def ratio(interval: Interval) -> str:
    """A ratio with its interval, `0.99 [0.96, 1.03]`."""
    if interval.low is None or interval.high is None:
        estimate = f"{interval.estimate:.2f}" if interval.estimate >= 0.01 else f"{interval.estimate:.2g}"
        return f"{estimate}, no interval from {counted(interval.n, 'block')}"
    digits = 2 + _digits(100 * (interval.high - interval.low))
    return f"{interval.estimate:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _says_nothing(interval: Interval) -> bool:
    """Whether the interval of an undecided ratio spans more than a factor of ten."""
    low, high = interval.low, interval.high
    return low is not None and high is not None and low <= 1 <= high and high > 10 * low


def describe_check(check: LimitCheck) -> str:
    """How a configuration misses a limit, or why it is not shown to meet it yet."""
    if check.estimate is None:
        return f"{check.name} was not measured"
    value = f"{check.name} {_value(check)}"
    if check.standing is Standing.NOT_MET:
        side = "below" if check.estimate < check.limit else "above"
        return f"{value} is {side} the limit of {_amount(check.limit, check)}"
    return f"{value} is not shown to be within the limit of {_amount(check.limit, check)} yet ({_outlook(check)})"


_SAMPLES = {"s": "block", "bytes": "block", "share": "prompt", "ratio": "document"}
"""Unit of a limit -> what its interval is taken over."""


def _outlook(check: LimitCheck) -> str:
    """The measurements that would show it."""
    what = _SAMPLES[check.unit]
    if check.low is None:
        more = f"; {counted(check.more_blocks, 'more block')} would give one" if check.more_blocks else ""
        return f"no interval from {counted(check.n, what)}{more}"
    if what != "block":
        return f"more {what}s than {check.n} would tell"
    if check.more_blocks is None:
        return "more blocks would hardly tell"
    return f"about {counted(check.more_blocks, 'more block')} would tell"


def _value(check: LimitCheck) -> str:
    """The estimate in a reader's unit, and its bounds where it is not exact."""
    if check.estimate is None:
        return ""
    text = _amount(check.estimate, check)
    if check.low is None or check.high is None or check.low == check.high:
        return text
    if check.unit == "ratio":
        return f"{text} [{check.low:.4f}, {check.high:.4f}]"
    divisor = {"s": 1.0 if check.estimate >= 1 else 0.001, "share": 0.01}.get(check.unit, 1.0)
    return f"{text} [{check.low / divisor:.4g}, {check.high / divisor:.4g}]"


def _amount(value: float, check: LimitCheck) -> str:
    match check.unit:
        case "bytes":
            return _size(value, _family(check.limit))
        case "share":
            return f"{100 * value:.4g} %"
        case "ratio":
            return f"{value:.4f}" if value != check.limit else f"{value:g}"
    return _duration(value)


def over(excess: float) -> str:
    """By how much a limit is exceeded, as a share of it: `25 % over`, or from ten times on `201 times the limit`."""
    return f"{100 * excess:.0f} % over" if excess < 9 else f"{1 + excess:.0f} times the limit"


_BINARY = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "bytes"))
_DECIMAL = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "bytes"))


def _family(limit: float) -> Sequence[tuple[int, str]]:
    """The units in which a limit is a round number, which must be those that it was given in."""
    scale = next(scale for scale, _ in _BINARY if limit >= scale or scale == 1)
    return _BINARY if float(f"{limit / scale:.4g}") * scale == limit and scale > 1 else _DECIMAL


def _size(size_bytes: float, units: Sequence[tuple[int, str]]) -> str:
    scale, name = next((scale, name) for scale, name in units if size_bytes >= scale or scale == 1)
    return f"{size_bytes / scale:.4g} {name}"


def _duration(value: float) -> str:
    """In a unit that suits it; enough digits that a value just above a limit looks so."""
    return f"{value:.4g} s" if value >= 1 else f"{1000 * value:.4g} ms"


def _digits(width: float) -> int:
    """Decimals for the bounds of an interval so wide: none from 3 on, one from 0.3 on ... at most 4."""
    return min(4, max(0, math.ceil(math.log10(3 / width)))) if width > 0 else 0
