"""Samples: one variable of one subject, group by group, whether it comes from a results file or from a CSV file."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from servewatt.records import Provider
from servewatt.study.data.csv_table import CsvTable
from servewatt.study.data.names import configuration_order
from servewatt.study.data.observations import VARIABLES, Observation, usable


@dataclass(frozen=True)
class SampleGroup:
    """The observations of one group, such as a configuration."""

    name: str
    values: tuple[float, ...]
    """In one unit; NaN where an observation has no number."""
    blocks: tuple[Hashable, ...] = ()
    """What each value shares with values of other groups, such as a run and a block of it; empty where not known."""


@dataclass(frozen=True)
class Sample:
    """One variable of one subject."""

    subject: str
    variable: str
    """Field of Observation, or column of a CSV file."""
    groups: tuple[SampleGroup, ...]
    """In the order in which they are shown; one without observations was tried."""
    paired: bool
    """Whether values have blocks, so that groups are compared within them."""
    notes: tuple[str, ...] = ()
    """What the tests do not know, such as several machines."""

    @property
    def title(self) -> str:
        """The variable in words."""
        return title_of(self.variable)

    @property
    def key(self) -> tuple[object, ...]:
        """The same for variables of a subject that have the same values."""
        return self.subject, tuple((g.name, g.values) for g in self.groups)

    @property
    def values(self) -> dict[str, tuple[float, ...]]:
        """Group -> its values, NaN among them."""
        return {g.name: g.values for g in self.groups}

    @property
    def by_block(self) -> dict[str, dict[Hashable, float]]:
        """Group -> block -> its positive value, the mean of several; groups without one are left out."""
        found = {g.name: _block_means(g) for g in self.groups}
        return {name: blocks for name, blocks in found.items() if blocks}


def title_of(variable: str) -> str:
    """A response variable in words; any other column by its name."""
    return next((v.title for v in VARIABLES if v.name == variable), variable)


def from_observations(
    observations: Sequence[Observation], variables: Sequence[str] = ()
) -> Iterator[tuple[Sample, tuple[Observation, ...]]]:
    """A sample for each model, campaign and variable that has data, with all of that model's observations there.

    Only valid trials enter, the last attempt of each block. `variables` are fields of Observation; all response
    variables if empty. Campaigns are subjects of their own, because their machines differ.
    """
    campaigns = {o.campaign for o in observations}
    for _, model, campaign in sorted({(o.parameters, o.model, o.campaign) for o in observations}):
        of_it = tuple(o for o in observations if (o.model, o.campaign) == (model, campaign))
        valid = usable(of_it)
        notes = _machines(valid)
        subject = model if len(campaigns) == 1 else f"{model} ({campaign})"
        for variable in variables or [v.name for v in VARIABLES]:
            groups = _groups(of_it, valid, variable)
            if any(g.values for g in groups):
                yield Sample(subject, variable, groups, paired=True, notes=notes), of_it


def from_csv(table: CsvTable, variable: str) -> tuple[Sample, ...]:
    """A sample for each subject of a CSV file; `variable` is the column of its values."""
    return tuple(
        Sample(
            subject.name,
            variable,
            tuple(SampleGroup(n, values, subject.blocks.get(n, ())) for n, values in subject.groups.items()),
            paired=bool(subject.blocks),
            notes=_repeated(subject.blocks),
        )
        for subject in table.subjects
    )


def _block_means(group: SampleGroup) -> dict[Hashable, float]:
    found: dict[Hashable, list[float]] = {}
    for block, value in zip(group.blocks, group.values, strict=False):
        if math.isfinite(value) and value > 0:
            found.setdefault(block, []).append(value)
    return {block: statistics.fmean(values) for block, values in found.items()}


def _groups(
    observations: Sequence[Observation], valid: Sequence[Observation], variable: str
) -> tuple[SampleGroup, ...]:
    """The configurations, without those that do not have the variable, such as a GPU's on a CPU.

    A configuration without a valid trial stays, as a group without observations.
    """
    tried = {o.configuration for o in observations if not variable.startswith("gpu_") or o.provider == Provider.CUDA}
    found: dict[str, list[Observation]] = {label: [] for label in tried - {o.configuration for o in valid}}
    for one in valid:
        found.setdefault(one.configuration, []).append(one)
    groups = []
    for label in sorted(found, key=configuration_order):
        values = tuple(_number(getattr(o, variable)) for o in found[label])
        if not values or not all(map(math.isnan, values)):
            groups.append(SampleGroup(label, values, tuple((o.run, o.block) for o in found[label])))
    return tuple(groups)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _machines(valid: Sequence[Observation]) -> tuple[str, ...]:
    machines = sorted({o.machine for o in valid})
    if len(machines) < 2:
        return ()
    return (f"these observations come from {len(machines)} machines, which the tests do not know",)


def _repeated(blocks: Mapping[str, Sequence[Hashable]]) -> tuple[str, ...]:
    """Says where a group has several observations in one block."""
    several = [name for name, of_it in blocks.items() if len(set(of_it)) < len(of_it)]
    if not several:
        return ()
    return (f"several observations in one block ({'; '.join(several)}): pairing takes their mean, the tests take each",)
