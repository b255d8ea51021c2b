"""From observations to cells: medians over blocks of each model in each configuration."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from servewatt.study.names import CONFIGURATIONS, configuration_order
from servewatt.study.observations import usable
from servewatt.study.records import Cell, Observation


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
