"""From slices of duet episodes to a choice and its promise: pure functions.

`episode` reduces the slices of one episode to a level a configuration, `bound` bounds the difference of two
configurations over episodes, and `rules` drops, rests, chooses and stops.
"""

from servewatt.stats.race.bound import PairBound, Scatter, pair_bound, pooled_scatter
from servewatt.stats.race.episode import Levels, episode_levels, rounds_for
from servewatt.stats.race.rules import Dropped, Standing, after_episode, far_behind, standing

__all__ = [
    "Dropped",
    "Levels",
    "PairBound",
    "Scatter",
    "Standing",
    "after_episode",
    "episode_levels",
    "far_behind",
    "pair_bound",
    "pooled_scatter",
    "rounds_for",
    "standing",
]
