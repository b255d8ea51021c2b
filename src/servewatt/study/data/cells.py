"""From observations to cells: medians over blocks of each model in each configuration."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from servewatt.study.data.names import CONFIGURATIONS, configuration_order
from servewatt.study.data.observations import Observation, usable


@dataclass(frozen=True)
class Cell:
    """One model in one configuration: medians over repetitions. What tables, ranks and savings are made of.

    Published cells are of one pass over the study's 164 prompts, ours per generated token: only ratios and ranks
    within one source compare.
    """

    source: str
    """`published`, or the campaign."""
    model: str
    configuration: str
    repetitions: int
    energy_j: float | None
    """Global energy: the study's own sum of CPU and GPU, or our boundary's."""
    cpu_energy_j: float | None
    gpu_energy_j: float | None
    time_s: float | None


class By(StrEnum):
    """What is saved."""

    ENERGY = "energy"
    TIME = "time"

    def of(self, cell: Cell) -> float | None:
        """Joules or seconds of a cell; None where it has none."""
        return cell.energy_j if self is By.ENERGY else cell.time_s


def cells_of(observations: Iterable[Observation]) -> tuple[Cell, ...]:
    """Medians over blocks per campaign, model and configuration; energies and times per generated token.

    Of each block the last trial that is OK counts. A configuration without one has no cell. Ordered by campaign,
    number of parameters, model and configuration.
    """
    groups: dict[tuple[str, int, str, str], list[Observation]] = {}
    for one in usable(observations):
        groups.setdefault((one.campaign, one.parameters, one.model, one.configuration), []).append(one)
    order = sorted(groups, key=lambda k: (*k[:3], configuration_order(k[3])))
    return tuple(_cell(key[0], key[2], key[3], groups[key]) for key in order)


def values_of(cells: Iterable[Cell], by: By) -> dict[str, dict[str, float]]:
    """Model -> configuration -> joules or seconds, where they are known and above zero; every model is there."""
    table: dict[str, dict[str, float]] = {}
    for cell in cells:
        row = table.setdefault(cell.model, {})
        value = by.of(cell)
        if value is not None and value > 0:
            row[cell.configuration] = value
    return table


def counterpart(label: str) -> str | None:
    """The published configuration that a label stands beside; None if the study had none such.

    The study served over HTTP and left options at their defaults, so a label that names only these still has one;
    other precisions and batches have none.
    """
    words = label.strip("<>").split(", ")
    plain = f"<{', '.join(words[:2])}>"
    same = all(word == "HTTP" or "=" in word for word in words[2:])
    return plain if plain in CONFIGURATIONS and same else None


def stand_ins(labels: Iterable[str]) -> dict[str, str]:
    """Label -> the published configuration it stands beside; of several for one the label that names least."""
    chosen: dict[str, str] = {}
    for label in sorted(set(labels), key=lambda text: (text.count(", "), text)):
        plain = counterpart(label)
        if plain is not None and plain not in chosen.values():
            chosen[label] = plain
    return chosen


def _cell(source: str, model: str, configuration: str, blocks: Sequence[Observation]) -> Cell:
    return Cell(
        source=source,
        model=model,
        configuration=configuration,
        repetitions=len(blocks),
        energy_j=_median(o.energy_j_per_token for o in blocks),
        cpu_energy_j=_median(o.cpu_energy_j_per_token for o in blocks),
        gpu_energy_j=_median(o.gpu_energy_j_per_token for o in blocks),
        time_s=_median(o.s_per_token for o in blocks),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None and math.isfinite(v)]
    return statistics.median(known) if known else None
