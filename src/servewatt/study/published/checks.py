"""Checks of the published figures: the energy boundary they depend on, and the loop that timed them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from servewatt.records import Provider
from servewatt.study.data.cells import Cell
from servewatt.study.published.medians import PROMPTS, Utilisation
from servewatt.study.published.savings import JIT


@dataclass(frozen=True)
class BoundaryOrder:
    """One model's CPU configurations in the order of their energy inside one boundary, least first; JIT left out."""

    model: str
    boundary: str
    configurations: tuple[str, ...]
    energies_j: tuple[float, ...]
    """In the same order; joules of one pass."""


@dataclass(frozen=True)
class Step:
    """The time of one request, in steps of the quickest published request."""

    model: str
    configuration: str
    s_per_request: float
    steps: float
    whole: bool
    """Whether it is a whole number of steps, within `WHOLE`."""


WHOLE = 0.02
"""How far from a whole number of steps, as a share of it, still counts as whole."""

BOUNDARIES: tuple[tuple[str, Callable[[Utilisation], float | None]], ...] = (
    ("CPU package (the study's)", lambda u: u.cpu_energy_j),
    ("CPU package and idle GPU", lambda u: _sum(u.cpu_energy_j, u.gpu_energy_j)),
    ("wall", lambda u: _product(u.wall_power_w, u.time_s)),
)
"""Boundaries by which the study measured a CPU row, and the joules of one pass inside each."""


def boundary_orders(utilisation: Sequence[Utilisation]) -> tuple[BoundaryOrder, ...]:
    """The order of each model's CPU configurations by each boundary, where all of them were measured by all."""
    orders = []
    rows = [u for u in utilisation if u.model and u.provider is Provider.CPU and u.configuration not in JIT]
    for model in dict.fromkeys(u.model for u in rows):
        own = [u for u in rows if u.model == model]
        measured = [(name, {u.configuration: joules(u) for u in own}) for name, joules in BOUNDARIES]
        if len(own) < 2 or any(e is None for _, energies in measured for e in energies.values()):
            continue
        for name, energies in measured:
            ordered = sorted((e, c) for c, e in energies.items() if e is not None)
            orders.append(BoundaryOrder(model, name, tuple(c for _, c in ordered), tuple(e for e, _ in ordered)))
    return tuple(orders)


def request_steps(cells: Sequence[Cell], configuration: str) -> tuple[Step, ...]:
    """Each model's time a request in one configuration, in steps of the quickest request of all published cells.

    The study's server answered only when a loop that polls the meters came round, so the quickest request is one
    round. `cells` are published ones: passes over `PROMPTS` requests.
    """
    times = [(c, c.time_s / PROMPTS) for c in cells if c.time_s is not None]
    round_s = min((s for _, s in times), default=0.0)
    steps = []
    for cell, seconds in times:
        if cell.configuration == configuration:
            count = seconds / round_s
            whole = abs(count - round(count)) <= WHOLE * round(count)
            steps.append(Step(cell.model, configuration, seconds, count, whole))
    return tuple(steps)


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def _product(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first * second
