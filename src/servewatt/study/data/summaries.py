"""One model in one configuration, summarised: medians with intervals, how many blocks count, and why others do not."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from servewatt import errors
from servewatt.records import Grade, Weights
from servewatt.stats.energy import worst
from servewatt.stats.intervals import typical
from servewatt.stats.records import Interval
from servewatt.study.data.cells import Cell
from servewatt.study.data.names import configuration_order, size_group
from servewatt.study.data.observations import VARIABLES, Observation, usable

GRADE_FIELDS = {
    "energy_j_per_token": "grade",
    "cpu_energy_j_per_token": "cpu_grade",
    "gpu_energy_j_per_token": "gpu_grade",
}
"""Variable -> the field of Observation that grades it."""


@dataclass(frozen=True)
class Measure:
    """One variable of a summary."""

    variable: str
    """Field of Observation."""
    values: tuple[float, ...]
    """One per block that counts, in the order of the blocks; SI base units."""
    interval: Interval
    """Median and its 95 % interval over blocks."""
    grade: Grade
    """The worst of the blocks; MISSING for a variable that has none."""


@dataclass(frozen=True)
class Summary:
    """One model in one configuration of one campaign (or of the published table)."""

    source: str
    """The campaign, or `published`."""
    model: str
    parameters: int | None
    weights: Weights | None
    """None where the source does not say."""
    configuration: str
    ok: int
    """Blocks with a trial that counts."""
    blocks: int
    """Blocks that were tried; 0 for a configuration that was never tried with this model."""
    measures: tuple[Measure, ...] = ()
    failure: str = ""
    """Why some or all blocks have no trial that counts; empty if every block has one."""

    def measure(self, variable: str) -> Measure | None:
        """The measure of a variable, or None where it was not measured."""
        return next((m for m in self.measures if m.variable == variable), None)

    def estimate(self, variable: str) -> float | None:
        """The median of a variable, or None where it was not measured."""
        found = self.measure(variable)
        return None if found is None else found.interval.estimate


@dataclass(frozen=True)
class Mean:
    """One variable of a size group."""

    variable: str
    """Field of Observation."""
    value: float
    """Mean over models of their medians; SI base units."""
    grade: Grade
    """The worst of the models; MISSING for a variable that has none."""


@dataclass(frozen=True)
class GroupMean:
    """A size group in one configuration, as the study aggregates: the mean over models of their medians."""

    source: str
    group: int
    """1, 2 or 3; see `names.SIZE_GROUPS`."""
    configuration: str
    models: tuple[str, ...]
    """Models whose medians enter."""
    absent: tuple[str, ...]
    """Models of the group that have no median here."""
    means: tuple[Mean, ...]
    """A variable that one of the entering models lacks is left out."""

    def mean(self, variable: str) -> Mean | None:
        """The mean of a variable, or None where it was not measured."""
        return next((m for m in self.means if m.variable == variable), None)


def summarise(observations: Sequence[Observation]) -> tuple[Summary, ...]:
    """Every model of every campaign in every configuration of that campaign, measured or not.

    Ordered by number of parameters, model, campaign and configuration. Of several trials of one block the last that
    is OK counts (`observations.usable`); a block without one is told in `failure`.
    """
    cells: dict[tuple[str, str, str], list[Observation]] = {}
    for one in observations:
        cells.setdefault((one.campaign, one.model, one.configuration), []).append(one)
    models = sorted({(o.parameters, o.model) for o in observations})
    summaries = []
    for parameters, model in models:
        for campaign in sorted({o.campaign for o in observations if o.model == model}):
            weights = next(o.weights for o in observations if (o.campaign, o.model) == (campaign, model))
            labels = {o.configuration for o in observations if o.campaign == campaign}
            for label in sorted(labels, key=configuration_order):
                trials = cells.get((campaign, model, label), [])
                summaries.append(_summary((campaign, model, label), parameters, weights, trials))
    return tuple(summaries)


def from_cells(cells: Sequence[Cell], parameters: Mapping[str, int]) -> tuple[Summary, ...]:
    """Published cells as summaries: medians without intervals, joules and seconds of one whole pass.

    `parameters` gives each model's number of parameters, for order and size group.
    """
    found = [
        Summary(
            source=cell.source,
            model=cell.model,
            parameters=parameters.get(cell.model),
            weights=None,
            configuration=cell.configuration,
            ok=cell.repetitions,
            blocks=cell.repetitions,
            measures=tuple(
                Measure(name, (value,), Interval(value, None, None, cell.repetitions), Grade.MISSING)
                for name, value in (
                    ("energy_j_per_token", cell.energy_j),
                    ("cpu_energy_j_per_token", cell.cpu_energy_j),
                    ("gpu_energy_j_per_token", cell.gpu_energy_j),
                    ("s_per_token", cell.time_s),
                )
                if value is not None
            ),
        )
        for cell in cells
    ]
    return tuple(
        sorted(found, key=lambda s: (s.parameters or 0, s.model, s.source, configuration_order(s.configuration)))
    )


def group_means(summaries: Sequence[Summary]) -> tuple[GroupMean, ...]:
    """The mean over the models of a size group of their medians, by source, group and configuration."""
    keys: dict[tuple[str, int, str], list[Summary]] = {}
    for one in summaries:
        if one.parameters is not None:
            keys.setdefault((one.source, size_group(one.parameters), one.configuration), []).append(one)
    order = sorted(keys, key=lambda k: (k[0], k[1], configuration_order(k[2])))
    return tuple(_group_mean(key, keys[key]) for key in order)


def _group_mean(key: tuple[str, int, str], members: Sequence[Summary]) -> GroupMean:
    usable_members = [m for m in members if m.measures]
    means = []
    for variable in VARIABLES:
        measures = [found for m in usable_members if (found := m.measure(variable.name)) is not None]
        if measures and len(measures) == len(usable_members):
            value = statistics.fmean(m.interval.estimate for m in measures)
            means.append(Mean(variable.name, value, worst(m.grade for m in measures)))
    models = tuple(m.model for m in usable_members)
    return GroupMean(*key, models, tuple(m.model for m in members if not m.measures), tuple(means))


def _summary(key: tuple[str, str, str], parameters: int, weights: Weights, trials: Sequence[Observation]) -> Summary:
    source, model, label = key
    valid = sorted(usable(trials), key=_block)
    return Summary(
        source,
        model,
        parameters,
        weights,
        label,
        ok=len(valid),
        blocks=len({_block(o) for o in trials}),
        measures=_measures(valid),
        failure=_failure(trials, {_block(o) for o in valid}),
    )


def _measures(valid: Sequence[Observation]) -> tuple[Measure, ...]:
    measures = []
    for variable in VARIABLES:
        pairs = [(o, getattr(o, variable.name)) for o in valid]
        usable = [(o, float(v)) for o, v in pairs if v is not None and math.isfinite(v)]
        if not usable:
            continue
        field = GRADE_FIELDS.get(variable.name)
        grade = worst(getattr(o, field) for o, _ in usable) if field else Grade.MISSING
        values = tuple(v for _, v in usable)
        measures.append(Measure(variable.name, values, typical(values), grade))
    return tuple(measures)


def _block(observation: Observation) -> tuple[str, int]:
    """A block of one run is not that of another."""
    return observation.run, observation.block


def _failure(trials: Sequence[Observation], valid: Set[tuple[str, int]]) -> str:
    if not trials:
        return "not measured"
    # The last attempt tells how a block ended.
    last = {_block(o): o for o in sorted(trials, key=lambda o: o.attempt) if _block(o) not in valid}
    blocks = len({_block(o) for o in trials})
    texts = []
    for (status, reason), count in Counter((o.status, o.reason) for o in last.values()).most_common():
        share = "" if count == blocks else f"{count} of {errors.counted(blocks, 'block')}: "
        texts.append(share + status.value.replace("_", " ") + (f" ({reason})" if reason else ""))
    return "; ".join(texts)
