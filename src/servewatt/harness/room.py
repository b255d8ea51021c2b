"""Whether memory holds another process beside those that are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from servewatt.harness.shortage import available_bytes
from servewatt.records import Precision, Provider, Result, Trial

BYTES_PER_WEIGHT = {
    Precision.FP32: 4.0,
    Precision.BF16: 2.0,
    Precision.FP16: 2.0,
    Precision.INT8: 1.1,
    Precision.INT4: 0.65,
    Precision.W8A8: 1.1,
}
"""Scales included."""
LIBRARIES_BYTES = 600 * 2**20
"""Bytes that an engine takes besides the weights: its libraries, a CUDA context, workspace."""
WHILE_LOADING = 1.5
"""Memory while a model is loaded, over what it takes afterwards."""
SPARE_SHARE = 0.1
"""Of what is free, left to others."""
ALONE = frozenset({"vllm"})
"""Engines that take most of a GPU's memory whatever the model needs."""


@dataclass(frozen=True)
class Need:
    """Memory that a process takes at most while it loads, in bytes."""

    host: float
    board: float
    """Of the GPU's; 0 on a CPU."""


def need_of(trial: Trial, known: Sequence[Result] = ()) -> Need:
    """What the process of `trial` needs, by `known` results of its configuration, or else by its weights."""
    configuration = trial.configuration
    own = [r for r in known if r.trial.configuration == configuration]
    weights = WHILE_LOADING * trial.model.parameters * BYTES_PER_WEIGHT[configuration.precision]
    host = max((r.peak_rss_bytes or 0 for r in own), default=0) or weights + LIBRARIES_BYTES
    board = max((r.peak_gpu_bytes or 0 for r in own), default=0) or weights + LIBRARIES_BYTES
    return Need(host, 0.0 if configuration.provider is Provider.CPU else board)


def has_room(trial: Trial, known: Sequence[Result] = (), loading: Sequence[Trial] = (), root: Path = Path("/")) -> bool:
    """Whether the process of `trial` would find memory, of the machine and of its GPU.

    `known` are results that may tell what a configuration took before; `loading` are trials whose processes have not
    taken theirs yet. True where free memory is not known.
    """
    configuration = trial.configuration
    if configuration.engine in ALONE:
        return False
    needs = [need_of(one, known) for one in (trial, *loading)]
    free = available_bytes(Provider.CPU, root)
    if free is not None and sum(need.host for need in needs) > (1 - SPARE_SHARE) * free:
        return False
    if configuration.provider is Provider.CPU:
        return True
    free = available_bytes(configuration.provider, root)
    return free is None or sum(need.board for need in needs) <= (1 - SPARE_SHARE) * free


CPUS_A_PROCESS = {Provider.CPU: 4, Provider.CUDA: 2}
"""So many for each process that loads beside others: on fewer, loading two at once takes as long as one after another,
and what each takes to load could not be told."""


def side_by_side(
    trials: Sequence[Trial], cpu_count: int, known: Sequence[Result] = (), root: Path = Path("/")
) -> Sequence[Trial]:
    """The first of `trials` that may load at the same time, one at least, by the CPUs and the memory that they need."""
    most = max(1, cpu_count // CPUS_A_PROCESS[trials[0].configuration.provider])
    found = list(trials[:1])
    for trial in trials[1:most]:
        if found[0].configuration.engine in ALONE or not has_room(trial, known, found, root):
            break
        found.append(trial)
    return found
