"""Which engines run a model, in which precisions, and why the others do not."""

from __future__ import annotations

from dataclasses import dataclass

from servewatt.engines import ENGINES, check_model
from servewatt.engines.entry import EngineEntry
from servewatt.errors import InputError, RefusedError
from servewatt.records import Configuration, Model, Precision, Provider


@dataclass(frozen=True)
class Refusal:
    """Why an engine does not run a model in some of its precisions."""

    reason: str
    hint: str
    precisions: tuple[tuple[Provider, Precision], ...]


@dataclass(frozen=True)
class Suitability:
    """What an engine runs of one model, installed or not; nothing is loaded to find out."""

    engine: str
    runs: tuple[tuple[Provider, Precision], ...]
    refusals: tuple[Refusal, ...]
    """Of the other pairs that the engine has; each reason once."""


def suitable(model: Model) -> tuple[Suitability, ...]:
    """Every engine that is not an imitation, asked about `model` with default options; its folder has config.json."""
    return tuple(_of_engine(known, model) for known in ENGINES.values() if known.real)


def _of_engine(known: EngineEntry, model: Model) -> Suitability:
    runs: list[tuple[Provider, Precision]] = []
    refused: dict[tuple[str, str], list[tuple[Provider, Precision]]] = {}
    for provider, precision in known.supports:
        configuration = Configuration(known.name, provider, precision)
        try:
            check_model(configuration, model)
        except (InputError, RefusedError) as error:
            reason = error.message.removeprefix(f"{configuration.key}: ").removeprefix(f"{model.name}: ")
            refused.setdefault((reason, error.hint), []).append((provider, precision))
        else:
            runs.append((provider, precision))
    refusals = tuple(Refusal(reason, hint, tuple(pairs)) for (reason, hint), pairs in refused.items())
    return Suitability(known.name, tuple(runs), refusals)
