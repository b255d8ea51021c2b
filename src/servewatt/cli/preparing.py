"""What `servewatt models prepare` does."""

from __future__ import annotations

import time
from collections.abc import Iterator

from servewatt import engines
from servewatt.cli.options import split_names
from servewatt.cli.planning import distinct, expand, of_model
from servewatt.cli.run_file import validate_options
from servewatt.harness.derive import derive
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Weights


def prepare(
    name: str, weights: str, engine_names: str | None, provider_names: str, precision_names: str
) -> Iterator[str]:
    """Fill the cache for a model; a line for each thing that is there now.

    Raises InputError for unknown names, and whatever resolving or exporting the model raises.
    """
    content: dict[str, object] = {"providers": split_names(provider_names), "precisions": split_names(precision_names)}
    if engine_names is not None:
        content["engines"] = split_names(engine_names)
    part = validate_options({"configurations": content}).configurations
    wanted, left_out = expand(part, has_gpu=True)
    with ArtefactCache() as cache:
        begin_s = time.monotonic()
        model = resolve(name, weights=Weights(weights), cache=cache)
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
