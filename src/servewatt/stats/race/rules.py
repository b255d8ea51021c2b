"""Rules after each episode: drop configurations shown worse, rest those that cannot matter, choose, stop."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations

from servewatt.stats.race.bound import PairBound, pair_bound, pooled_scatter
from servewatt.stats.race.episode import PROCESS_SD, Levels, episode_levels

TIE = 0.03
"""Savings below this share are a tie, unless the user says otherwise."""
EACH_LOOK = 16
LOOK_RATIO = 1.25
"""Beyond EACH_LOOK episodes, from one look to the next."""
FAR_BEHIND = 2.0
"""A configuration may leave the first episode early if it costs more than this many times another."""
FAR_BEHIND_ROUNDS = 4
FAR_BEHIND_DEGREES = 5.0
"""What the prior counts as there: more than later, because nothing but the prior tells what processes differ by."""


@dataclass(frozen=True)
class Dropped:
    """A configuration that was shown to cost more than another."""

    episode: int
    """After which one it was shown, from 1."""
    beaten_by: str
    ratio_low: float
    """It costs at least this many times what `beaten_by` does."""


@dataclass(frozen=True)
class Standing:
    """Where a race stands after some episodes."""

    choice: str
    promise: float
    """Nothing else that was measured saves more than this share of the choice's cost, 0 to 1."""
    runner_up: str | None
    """The configuration that the promise is about: it might save the most. None where all others are dropped."""
    dropped: Mapping[str, Dropped] = field(default_factory=dict)
    resting: frozenset[str] = frozenset()
    """Not dropped, and shown to save less than a tie: not measured further while the choice stays the same."""
    racing: tuple[str, ...] = ()
    """What the next episode has to hold, the choice among them."""
    decided: bool = False
    """Whether the race may stop: the promise is below a tie, or all others are dropped."""


def error_of_each(confidence: float, configurations: int) -> float:
    """The error that each comparison may make, so that the choice of so many holds at `confidence`.

    Every wrong answer needs the bound of a pair that holds the truly best configuration to fail, and there are
    `configurations` - 1 such pairs, whatever the data make of them.
    """
    return (1 - confidence) / max(1, configurations - 1)


def standing(
    episodes: Sequence[Levels],
    configurations: Collection[str],
    *,
    tie: float = TIE,
    confidence: float = 0.95,
    process_sd: float = PROCESS_SD,
    alone: bool = False,
    floor: float = 0.0,
) -> Standing:
    """Where the race of `configurations` stands after `episodes`.

    `configurations`: all that the race began with; their number fixes the error of each comparison. `tie`: share of
    the cost below which a saving does not matter. `process_sd`, `alone`: see `servewatt.stats.race.bound.pair_bound`.
    `floor`: difference of log costs that the bench makes of none (`servewatt.stats.race.twin`); nothing is dropped for
    less, and no smaller promise is made.
    What was dropped after an episode stays dropped, so episodes are gone through one after another.

    Raises ValueError if there is no episode, or none of the configurations is in one.
    """
    before: Standing | None = None
    for count in looks(len(episodes)):
        before = after_episode(
            episodes[:count],
            configurations,
            before,
            tie=tie,
            confidence=confidence,
            process_sd=process_sd,
            alone=alone,
            floor=floor,
        )
    if before is None:
        raise ValueError("no episodes")
    return before


def looks(episodes: int) -> list[int]:
    """After how many of so many episodes a standing is computed: each of the first ones, then ever fewer, and all.

    Bounds hold whenever one looks, so looking less often is as right; runs of thousands of blocks would take minutes.
    """
    found = list(range(1, min(episodes, EACH_LOOK) + 1))
    while found and (later := math.ceil(found[-1] * LOOK_RATIO)) < episodes:
        found.append(later)
    return found if not found or found[-1] == episodes else [*found, episodes]


def after_episode(
    episodes: Sequence[Levels],
    configurations: Collection[str],
    before: Standing | None,
    *,
    tie: float = TIE,
    confidence: float = 0.95,
    process_sd: float = PROCESS_SD,
    alone: bool = False,
    floor: float = 0.0,
) -> Standing:
    """The standing once the last of `episodes` is there, from that `before` it; see `standing`."""
    table = _Table(episodes, tuple(configurations), confidence, process_sd, alone)
    dropped = dict(before.dropped) if before is not None else {}
    if len(episodes) == 1 and not alone and process_sd <= PROCESS_SD and episodes[0].rounds >= FAR_BEHIND_ROUNDS:
        dropped |= _far_behind(episodes[0], len(configurations), confidence)
    dropped |= table.shown_worse([name for name in table.names if name not in dropped], floor)
    left = [name for name in table.names if name not in dropped]
    choice, promise, runner_up = table.choose(left)
    promise = max(promise, floor) if len(left) > 1 else promise
    resting = frozenset(b for b in left if b != choice and table.upper(choice, b) < math.log1p(tie))
    racing = tuple(name for name in left if name not in resting)
    decided = len(episodes) >= 2 and (len(left) == 1 or promise < math.log1p(tie))
    return Standing(choice, -math.expm1(-promise), runner_up, dropped, resting, racing, decided)


class _Table:
    """All pairs' bounds after some episodes."""

    def __init__(
        self,
        episodes: Sequence[Levels],
        configurations: tuple[str, ...],
        confidence: float,
        process_sd: float,
        alone: bool,
    ) -> None:
        seen = {name for episode in episodes for name in episode.log_cost}
        self.names = [name for name in configurations if name in seen]
        if not self.names:
            raise ValueError("none of the configurations is in an episode")
        self._count = len(episodes)
        self._error = error_of_each(confidence, len(configurations))
        scatter = pooled_scatter(episodes)
        self._bound = partial(pair_bound, episodes=episodes, scatter=scatter, process_sd=process_sd, alone=alone)
        self._pairs: dict[tuple[str, str], PairBound | None] = {}

    def shown_worse(self, names: Collection[str], floor: float = 0.0) -> dict[str, Dropped]:
        """Those of `names` that cost more than another one of them, by more than `floor`."""
        found: dict[str, Dropped] = {}
        for worse, better in permutations(names, 2):
            bound = self._pair(worse, better)
            if bound is None or bound.difference <= 0:
                continue
            low = bound.low(self._error)
            if low > floor and (worse not in found or math.log(found[worse].ratio_low) < low):
                found[worse] = Dropped(self._count, better, math.exp(low))
        return found

    def _pair(self, first: str, second: str) -> PairBound | None:
        if (first, second) not in self._pairs:
            bound = self._bound(first, second)
            self._pairs[first, second] = bound
            self._pairs[second, first] = None if bound is None else replace(bound, difference=-bound.difference)
        return self._pairs[first, second]

    def choose(self, left: Sequence[str]) -> tuple[str, float, str | None]:
        """(choice, log of the most that another can save, which one): the least such promise over `left`."""
        best: tuple[float, float, str, str | None] | None = None
        for name in left:
            others = [(self.upper(name, other), other) for other in left if other != name]
            worst, rival = max(others, default=(0.0, None))
            # While no pair is bounded, the least mean difference to the rest decides.
            ahead = sum(self._difference(name, other) for other in left if other != name)
            if best is None or (worst, ahead) < best[:2]:
                best = worst, ahead, name, rival
        assert best is not None
        return best[2], max(0.0, best[0]), best[3]

    def upper(self, first: str, second: str) -> float:
        """By how much, in log cost, `first` may cost more than `second`; infinite where they share no episode."""
        bound = self._pair(first, second)
        return math.inf if bound is None else bound.upper(self._error)

    def _difference(self, first: str, second: str) -> float:
        bound = self._pair(first, second)
        return 0.0 if bound is None else bound.difference


def far_behind(
    rounds: Sequence[Mapping[str, float]], configurations: int, *, confidence: float = 0.95
) -> dict[str, Dropped]:
    """What may leave the first episode while it runs: those that cost more than twice another by their lower bound.

    `rounds` are those so far, as in `episode_levels`; nothing leaves before `FAR_BEHIND_ROUNDS`, nor one of two. All of
    it is one start of each process, which the prior on what processes differ by has to cover alone.
    """
    return _far_behind(episode_levels(rounds), configurations, confidence) if len(rounds) >= FAR_BEHIND_ROUNDS else {}


def _far_behind(levels: Levels, configurations: int, confidence: float) -> dict[str, Dropped]:
    if configurations <= 2:
        return {}
    scatter = pooled_scatter([levels])
    error = error_of_each(confidence, configurations)
    found: dict[str, Dropped] = {}
    best = min(levels.log_cost, key=lambda name: levels.log_cost[name])
    for worse in levels.log_cost:
        bound = pair_bound(worse, best, [levels], scatter, prior_degrees=FAR_BEHIND_DEGREES)
        if worse != best and bound is not None and bound.low(error) > math.log(FAR_BEHIND):
            found[worse] = Dropped(1, best, math.exp(bound.low(error)))
    return found
