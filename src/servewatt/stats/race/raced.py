"""Records of a race's history."""

from __future__ import annotations

from dataclasses import dataclass

from servewatt.records import Interval


@dataclass(frozen=True)
class Step:
    """What was known of a configuration after some episodes."""

    episode: int
    """After how many episodes (of blocks without slices: blocks)."""
    ratio: Interval
    """Its cost over that of the choice, with the two-sided interval at the error of each comparison."""


@dataclass(frozen=True)
class Raced:
    """One configuration's way through a race."""

    configuration: str
    """Its key."""
    episodes: int
    """How many it was measured in."""
    measured_s: float
    """Seconds of loading, idling and generating that it took, whatever came of it."""
    steps: tuple[Step, ...] = ()
    """None of the choice itself, nor of one that shared no episode with it."""
    could_save: float | None = None
    """Share of the choice's cost that it could still save, at most; None of the choice, and where nothing tells."""
