"""Engines by name: what is known of each (`table`), whether it can run a configuration, and the engine itself."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

from servewatt.engines.base import Artefacts, Engine, Session, Step
from servewatt.engines.table import ENGINES, EngineEntry
from servewatt.errors import InputError, RefusedError, UnavailableError, nearest
from servewatt.records import Configuration, Model
from servewatt.user_folders import identity

__all__ = [
    "ENGINES",
    "Artefacts",
    "Engine",
    "EngineEntry",
    "Session",
    "Step",
    "activations_of",
    "check",
    "check_model",
    "check_options",
    "create",
    "entry",
    "interpreter",
]


def entry(name: str) -> EngineEntry:
    """The table's line for `name`; InputError with the nearest names if there is none."""
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}", nearest(name, ENGINES))
    return ENGINES[name]


def check(configuration: Configuration) -> None:
    """Raise if the table alone shows that this configuration cannot run."""
    known = entry(configuration.engine)
    check_options(configuration)
    if environment := known.environment():
        environment.check()
    if known.version() is None:
        raise UnavailableError(f"engine {known.name!r} is not installed", known.install_line)
    if (configuration.provider, configuration.precision) not in known.supports:
        able = ", ".join(f"{p.value}/{t.value}" for p, t in known.supports)
        raise RefusedError(f"{configuration.key}: {known.name} does not run this", f"it runs {able}")


def check_model(name: str, model: Model) -> None:
    """RefusedError, with the engines that could run it, if the engine has no code for the model's architecture."""
    if not _knows(entry(name), model.architecture):
        able = ", ".join(e.name for e in ENGINES.values() if _knows(e, model.architecture) and e.name != "fake")
        raise RefusedError(
            f"{model.name}: engine {name} does not run {model.architecture}", f"engines that could run it: {able}"
        )


def _knows(known: EngineEntry, architecture: str) -> bool:
    return known.architectures is None or architecture in known.architectures


def check_options(configuration: Configuration) -> None:
    """InputError, with those that it has, for an option or a value that the engine does not have."""
    known = entry(configuration.engine)
    for name, value in configuration.options:
        if name not in known.options:
            hint = nearest(name, known.options) if known.options else "leave out the option"
            raise InputError(f"engine {known.name} has no option {name!r}", hint)
        values = known.options[name]
        if values and value not in values:
            raise InputError(f"engine {known.name}: option {name} cannot be {value!r}", f"one of: {', '.join(values)}")


def activations_of(configuration: Configuration) -> str:
    """As what inputs meet 4-bit weights, `float` or `int8`: as asked, else the first that the engine offers."""
    offered = entry(configuration.engine).options.get("activations", ("float",))
    return dict(configuration.options).get("activations", offered[0])


def create(name: str) -> Engine:
    """The engine called `name`, its module imported but nothing loaded."""
    module, _, attribute = entry(name).target.partition(":")
    engine: Engine = getattr(importlib.import_module(module), attribute)()
    return engine


def interpreter(name: str, variables: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The Python that runs this engine's processes, and `variables` made those of its environment.

    HOME and USER are given where they lack and the user id has no name.

    UnavailableError, with the command that mends it, if the environment built for it is broken.
    """
    known = {**variables, **identity(variables)}
    environment = entry(name).environment()
    if environment is None:
        return sys.executable, known
    environment.check()
    return str(environment.python), environment.variables(known)
