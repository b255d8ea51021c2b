"""The slices of a race as tables, for the checks: costs by episode, round and configuration."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from servewatt.records import Result, Slice, Status
from servewatt.stats.race.costs import SliceCost


@dataclass(frozen=True)
class Joined:
    """The slice that a process took when it joined."""

    log_cost: float
    residents: int


@dataclass(frozen=True)
class Cell:
    """A valid slice."""

    episode: int
    round: int
    key: str
    log_cost: float
    after_own: bool | None
    """Whether the slice before it was the same configuration's; None where there was none in the episode."""


@dataclass
class EpisodeTable:
    """One episode."""

    rounds: list[dict[str, float]] = field(default_factory=list)
    """Log cost of each configuration's slice, round by round; a round of a group without another is empty for it."""
    joining: dict[str, Joined] = field(default_factory=dict)
    residents: dict[str, int] = field(default_factory=dict)
    """Most processes that were there in the rounds of each configuration."""


@dataclass(frozen=True)
class Observed:
    """What the slices of a race say."""

    episodes: tuple[EpisodeTable, ...]
    cells: tuple[Cell, ...]
    thirds: Mapping[str, Sequence[float]]
    """Of each valid slice: log of the time of a token in its first third over that in its last."""
    batches: Mapping[str, float]
    """Mean batches of a slice."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Configurations with slices."""
        return tuple(sorted({cell.key for cell in self.cells}))

    @cached_property
    def raw_scatter(self) -> tuple[float, int]:
        """(variance, degrees) of log costs of slices around their configuration's mean in their episode."""
        squares, degrees = 0.0, 0
        for episode in self.episodes:
            for own in _columns(episode.rounds).values():
                squares += sum((value - statistics.fmean(own)) ** 2 for value in own)
                degrees += len(own) - 1
        return (squares / degrees if degrees else 0.0), degrees

    def away_from_level(self, key: str) -> list[float]:
        """By how much each slice is above its configuration's median; what its round shares is taken off.

        Of two configurations nobody can say which of them a round shares something with, so nothing is.
        """
        found = []
        for episode in self.episodes:
            levels = {name: statistics.median(own) for name, own in _columns(episode.rounds).items()}
            for row in episode.rounds:
                if key in row:
                    away = {name: value - levels[name] for name, value in row.items()}
                    found.append(away[key] - (statistics.median(away.values()) if len(away) > 2 else 0.0))
        return found

    @cached_property
    def neighbours(self) -> tuple[float, float]:
        """(correlation of a slice's rest with that of the next round's, independent pairs that it rests on)."""
        products = squares = pairs = 0.0
        for episode in self.episodes:
            full = [row for row in episode.rounds if len(row) == len(episode.residents)]
            if len(full) < 4 or len(episode.residents) < 2:
                continue
            names = sorted(episode.residents)
            table = np.array([[row[name] for name in names] for row in full])
            rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
            products += float((rest[1:] * rest[:-1]).sum())
            squares += float((rest**2).sum()) * (len(full) - 1) / len(full)
            pairs += (len(full) - 1) * (len(names) - 1)
        return (products / squares if squares > 0 else 0.0), pairs


def observe(results: Sequence[Result], cost: SliceCost) -> Observed:
    """The tables of all valid results with slices; of several of one trial in an episode, the last."""
    blocks: dict[int, dict[str, Result]] = defaultdict(dict)
    for result in results:
        if result.status is Status.OK and result.slices:
            blocks[result.trial.block][result.trial.configuration.key] = result
    episodes: list[EpisodeTable] = []
    cells: list[Cell] = []
    thirds: dict[str, list[float]] = defaultdict(list)
    batches: dict[str, list[int]] = defaultdict(list)
    for number, (_, of_block) in enumerate(sorted(blocks.items())):
        table, own = _episode(number, of_block, cost)
        episodes.append(table)
        cells += own
        for key, result in of_block.items():
            for one in _valid(result):
                batches[key].append(one.batches)
                if one.first_third_s and one.last_third_s:
                    thirds[key].append(math.log(one.first_third_s / one.last_third_s))
    mean_batches = {key: statistics.fmean(counts) for key, counts in batches.items()}
    return Observed(tuple(episodes), tuple(cells), thirds, mean_batches)


def _episode(number: int, of_block: Mapping[str, Result], cost: SliceCost) -> tuple[EpisodeTable, list[Cell]]:
    table = EpisodeTable()
    rounds: dict[int, dict[str, float]] = defaultdict(dict)
    cells = []
    before: str | None = None
    taken = [(one, key) for key, result in of_block.items() for one in result.slices]
    for one, key in sorted(taken, key=lambda pair: pair[0].start_s):
        value = None if one.fault else cost(of_block[key], one)
        if one.round < 0:
            if value is not None:
                table.joining[key] = Joined(math.log(value), one.residents)
        elif value is not None:
            rounds[one.round][key] = math.log(value)
            table.residents[key] = max(table.residents.get(key, 0), one.residents)
            cells.append(Cell(number, one.round, key, math.log(value), None if before is None else before == key))
        before = key
    table.rounds = [rounds[place] for place in sorted(rounds)]
    return table, cells


def effect_of(signs: Sequence[float], cells: Sequence[Cell]) -> tuple[float, float, int] | None:
    """(effect of `signs` on the log cost, its standard error, degrees of freedom); None where nothing tells it.

    By least squares, with an effect of each round and of each configuration in each episode taken off.
    """
    rows = {place: i for i, place in enumerate(sorted({(c.episode, c.round) for c in cells}))}
    columns = {place: i for i, place in enumerate(sorted({(c.episode, c.key) for c in cells}))}
    design = np.zeros((len(cells), len(rows) + len(columns)))
    for index, cell in enumerate(cells):
        design[index, rows[cell.episode, cell.round]] = 1.0
        design[index, len(rows) + columns[cell.episode, cell.key]] = 1.0
    both = np.column_stack((np.asarray(signs, dtype=np.float64), [cell.log_cost for cell in cells]))
    fitted, _, rank, _ = np.linalg.lstsq(design, both, rcond=None)
    left = both - design @ fitted
    told, degrees = float(left[:, 0] @ left[:, 0]), len(cells) - int(rank) - 1
    if told < 1e-9 or degrees < 1:
        return None
    effect = float(left[:, 0] @ left[:, 1]) / told
    rest = left[:, 1] - effect * left[:, 0]
    return effect, math.sqrt(float(rest @ rest) / degrees / told), degrees


def _columns(rounds: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for row in rounds:
        for key, value in row.items():
            found[key].append(value)
    return found


def _valid(result: Result) -> list[Slice]:
    return [one for one in result.slices if one.round >= 0 and not one.fault]
