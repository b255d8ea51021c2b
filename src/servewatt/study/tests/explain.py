"""Why two tests of pairs disagree, in sentences with the numbers of the case."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from servewatt.study.tests.findings import Finding
from servewatt.study.tests.groups import Group
from servewatt.study.tests.posthoc import DUNN, GAMES_HOWELL, Pair, normal_p

MOST_NAMED = 3
"""More pairs than this are counted, not named."""


def explanations(groups: Sequence[Group], findings: Sequence[Finding], alpha: float) -> tuple[str, ...]:
    """Notes on the pairs that Dunn's and the Games-Howell test judge differently at `alpha`; `groups` have values."""
    dunn, games = (_of(test, findings) for test in (DUNN, GAMES_HOWELL))
    if not dunn:
        return ()
    notes = []
    neighbours = separated(groups)
    hidden = [pair for pair in neighbours if not _rejects(_pair(dunn, pair), alpha)]
    if hidden:
        notes.append(_separated_note(groups, neighbours, dunn, games, alpha))
    one_sided = [(p, f) for p, f in dunn.items() if p in games and _rejects(f, alpha) != _rejects(games[p], alpha)]
    apart = [(p, f) for p, f in one_sided if not _rejects(f, alpha) and f.effect and abs(f.effect.value) == 1]
    if apart and not hidden:
        notes.append(_apart_note(apart, len(groups)))
    # Of separated groups the first note has told already.
    overlapping = [(p, f) for p, f in one_sided if (p, f) not in apart and not _rejects(f, alpha)]
    if overlapping:
        notes.append(
            f"Games-Howell alone tells apart {_named([p for p, _ in overlapping])}: it compares the means of the two "
            f"with their own variances, while Dunn's test asks for a large difference of ranks among those of all "
            f"{len(groups)} groups, corrected for {len(dunn)} pairs"
        )
    by_rank = [p for p, f in one_sided if _rejects(f, alpha)]
    if by_rank:
        least = min(g.n for g in groups)
        notes.append(
            f"Dunn-Holm alone tells apart {_named(by_rank)}: ranks ignore outliers and use the scatter of all groups, "
            f"while Games-Howell estimates each group's variance from its own observations (as few as {least} here), "
            "and few or outlying ones widen it"
        )
    return tuple(notes)


def separated(groups: Sequence[Group]) -> tuple[Pair, ...]:
    """Neighbours in the order of values, if no value of any group lies among another's; else none.

    Groups of one value each do not overlap whatever they are, so they are not called separated.
    """
    if all(g.n == 1 for g in groups):
        return ()
    ordered = sorted(groups, key=lambda g: (min(g.values), max(g.values)))
    steps = list(pairwise(ordered))
    if any(max(low.values) >= min(high.values) for low, high in steps):
        return ()
    return tuple((low.name, high.name) for low, high in steps)


def _separated_note(
    groups: Sequence[Group],
    neighbours: Sequence[Pair],
    dunn: dict[Pair, Finding],
    games: dict[Pair, Finding],
    alpha: float,
) -> str:
    tested = [f for pair in neighbours if (f := _pair(dunn, pair)) is not None and f.statistic is not None]
    z = [abs(f.statistic) for f in tested if f.statistic is not None]
    p_holm = [f.p_value for f in tested if f.p_value is not None]
    sizes = sorted({g.n for g in groups})
    n = f"n = {sizes[0]} in each" if len(sizes) == 1 else f"n = {sizes[0]} to {sizes[-1]}"
    step = f"n = {sizes[0]}" if len(sizes) == 1 else "the mean of their n"
    told = sum(_rejects(f, alpha) for f in dunn.values())
    hidden = [abs(f.statistic) for f in tested if f.statistic is not None and not _rejects(f, alpha)]
    if normal_p(max(hidden)) < alpha:
        verdict = f"Holm's correction over {len(dunn)} pairs lifts that above {alpha:g}"
    else:
        verdict = f"no difference, however large, brings that below {alpha:g}"
    computed = [f for f in games.values() if not f.refused]
    by_means = f"{sum(_rejects(f, alpha) for f in computed)} of {len(computed)}"
    other = f"; Games-Howell, which compares means, tells {by_means} apart" if computed else ""
    return (
        f"Dunn's test does not see how far apart these groups are: all {len(groups)} ({n}) are completely separated, "
        f"yet it tells {told} of {len(dunn)} pairs apart and misses {len(hidden)} of {len(z)} neighbours. Mean ranks "
        f"of separated neighbours differ by {step} whatever the distance of their values, so z = {span(z, '.2f')} "
        f"(p = {span([normal_p(v) for v in z], '.2g')}, after Holm {span(p_holm, '.2g')}): {verdict}{other}"
    )


def _apart_note(apart: Sequence[tuple[Pair, Finding]], groups: int) -> str:
    (first, second), finding = min(apart, key=lambda one: abs(one[1].statistic or 0.0))
    others = len(apart) - 1
    more = f", and {others} more such pair{'s' if others > 1 else ''}" if others else ""
    return (
        f"Dunn-Holm does not tell {first} from {second}{more}, though their values do not overlap and Games-Howell "
        f"does: its z = {abs(finding.statistic or 0.0):.2f} counts how many observations of all {groups} groups lie "
        "between the two, not how far apart their values are"
    )


def _of(test: str, findings: Sequence[Finding]) -> dict[Pair, Finding]:
    """The pairs of a test that were computed."""
    return {(f.groups[0], f.groups[1]): f for f in findings if f.test == test and not f.refused}


def _pair(found: dict[Pair, Finding], pair: Pair) -> Finding | None:
    return found.get(pair) or found.get((pair[1], pair[0]))


def _rejects(finding: Finding | None, alpha: float) -> bool:
    return finding is not None and finding.p_value is not None and finding.p_value < alpha


def _named(pairs: Sequence[Pair]) -> str:
    shown = [f"{a} and {b}" for a, b in pairs[:MOST_NAMED]]
    if len(pairs) > MOST_NAMED:
        return f"{len(pairs)} pairs ({'; '.join(shown)} ...)"
    return "; ".join(shown)


def span(values: Sequence[float], form: str) -> str:
    """The least and the greatest of values, in a format such as `.2f`; one of them where they read alike."""
    low, high = (format(v, form) for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
