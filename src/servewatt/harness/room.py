"""Whether memory holds another process beside those that are loaded."""

from __future__ import annotations

from collections.abc import Sequence
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


def has_room(trial: Trial, known: Sequence[Result] = (), root: Path = Path("/")) -> bool:
    """Whether the process of `trial` would find memory, of the machine and of its GPU.

    `known` are results that may tell what the configuration took before. True where free memory is not known.
    """
    configuration = trial.configuration
    if configuration.engine in ALONE:
        return False
    own = [r for r in known if r.trial.configuration == configuration]
    weights = WHILE_LOADING * trial.model.parameters * BYTES_PER_WEIGHT[configuration.precision]
    host = max((r.peak_rss_bytes or 0 for r in own), default=0) or weights + LIBRARIES_BYTES
    board = max((r.peak_gpu_bytes or 0 for r in own), default=0) or weights + LIBRARIES_BYTES
    free = available_bytes(Provider.CPU, root)
    if free is not None and host > (1 - SPARE_SHARE) * free:
        return False
    if configuration.provider is Provider.CPU:
        return True
    free = available_bytes(configuration.provider, root)
    return free is None or board <= (1 - SPARE_SHARE) * free
