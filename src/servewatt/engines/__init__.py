"""Engines by name: their descriptions, checks whether they can run a configuration, and the engines themselves."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

from servewatt.checkpoints.files import is_file
from servewatt.engines.base import Artefacts, Engine, Session, Step
from servewatt.engines.entry import EngineEntry
from servewatt.engines.environments import builds
from servewatt.engines.options import Option
from servewatt.engines.table import NAMES
from servewatt.errors import InputError, RefusedError, UnavailableError, nearest
from servewatt.records import Configuration, Model
from servewatt.user_folders import identity

__all__ = [
    "ENGINES",
    "Artefacts",
    "Engine",
    "EngineEntry",
    "Option",
    "Session",
    "Step",
    "check",
    "check_build",
    "check_model",
    "create",
    "entry",
    "interpreter",
]


def _described(name: str) -> EngineEntry:
    """The `ENTRY` of the engine's `entry.py`, which imports nothing heavy."""
    described: EngineEntry = importlib.import_module(f"servewatt.engines.{name.replace('-', '_')}.entry").ENTRY
    return described


ENGINES: dict[str, EngineEntry] = {name: _described(name) for name in NAMES}


def entry(name: str) -> EngineEntry:
    """The description of engine `name`; InputError with the nearest names if there is none."""
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}", nearest(name, ENGINES))
    return ENGINES[name]


def check(configuration: Configuration) -> None:
    """Raise if the engine's entry alone shows that this configuration cannot run."""
    known = entry(configuration.engine)
    known.check_options(configuration)
    known.check_installed()
    known.check_support(configuration)


def check_model(configuration: Configuration, model: Model) -> None:
    """Raise what can be known of this configuration and model without loading either.

    RefusedError, with the engines that could run it, if the engine has no code for the model's architecture, and
    whatever else the engine refuses of model and configuration (`Engine.check`).
    """
    name = configuration.engine
    if not entry(name).knows(model.architecture):
        able = ", ".join(e.name for e in ENGINES.values() if e.real and e.knows(model.architecture))
        raise RefusedError(
            f"{model.name}: engine {name} does not run {model.architecture}", f"engines that could run it: {able}"
        )
    # A plan may name random weights that are not drawn yet; their folder comes with them.
    if is_file(Path(model.folder) / "config.json"):
        create(name).check(model, configuration)


def check_build(name: str) -> None:
    """UnavailableError if engine `name` cannot run in a build, as it has an environment of its own."""
    if entry(name).environment() is not None:
        raise UnavailableError(
            f"engine {name} runs in an environment of its own, which a build does not vary",
            "compare it by two runs: servewatt compare A B",
        )


def create(name: str) -> Engine:
    """The engine called `name`, its module imported but nothing loaded."""
    module, _, attribute = entry(name).target.partition(":")
    engine: Engine = getattr(importlib.import_module(module), attribute)()
    return engine


def interpreter(name: str, variables: Mapping[str, str], build: str = "") -> tuple[str, dict[str, str]]:
    """The Python that runs this engine's processes, and `variables` made those of its environment.

    `build`: name of the build whose code it is to run, if not of the running one's.
    HOME and USER are given where they lack and the user id has no name.

    UnavailableError, with the command that mends it, if the environment built for it is broken.
    """
    known = {**variables, **identity(variables)}
    environment = entry(name).environment()
    if build:
        check_build(name)
        built = builds.find(build)
        return str(built.python), built.variables(known)
    if environment is None:
        return sys.executable, known
    environment.check()
    return str(environment.python), environment.variables(known)
