"""Everything that measuring a model needs, made ahead: weights and exported graphs."""

from __future__ import annotations

import time
from collections.abc import Iterator

from servewatt import engines
from servewatt.experiment.planning import distinct, expand, of_model
from servewatt.experiment.study_file import ConfigurationPart
from servewatt.harness.derive import derive
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Weights


def prepare(name: str, weights: Weights, part: ConfigurationPart) -> Iterator[str]:
    """Fill the cache for a model; a line for each thing that is there now.

    Raises InputError for unknown names, and whatever resolving or exporting the model raises.
    """
    wanted, left_out = expand(part, has_gpu=True)
    with ArtefactCache() as cache:
        begin_s = time.monotonic()
        model = resolve(name, weights=weights, cache=cache)
        yield f"{name}: weights at {model.folder} ({time.monotonic() - begin_s:.0f} s)"
        configurations, unknown = of_model(wanted, model)
        for left in distinct(left_out + unknown):
            yield f"{name}: left out: {left.reason} ({left.hint})"
        for configuration in configurations:
            begin_s = time.monotonic()
            if engines.entry(configuration.engine).environment() is not None:
                derive(model, configuration)
            else:
                engines.create(configuration.engine).prepare(model, configuration, cache)
            yield f"{name}: {configuration.key} ({time.monotonic() - begin_s:.0f} s)"
