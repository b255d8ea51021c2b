"""The description of an engine, without importing its libraries: the record behind every `engines/NAME/entry.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from servewatt.engines.environments.state import EngineEnvironment, add_line, find
from servewatt.engines.options import Option
from servewatt.engines.shared.host import metadata_version
from servewatt.errors import InputError, RefusedError, UnavailableError, nearest
from servewatt.records import Configuration, Precision, Provider
from servewatt.version import __version__


@dataclass(frozen=True)
class EngineEntry:
    """An engine: what it needs, what it runs, which options it has."""

    name: str
    summary: str
    target: str
    """`module:Class` of the engine."""
    packages: tuple[str, ...]
    """Distributions it needs, the engine's own first; `a|b` is whichever of them is installed."""
    extra: str
    """The extra of servewatt that installs them."""
    supports: tuple[tuple[Provider, Precision], ...]
    """Provider and precision that it has kernels for, each pair."""
    options: tuple[Option, ...] = ()
    pins: tuple[str, ...] = ()
    """Exact versions of the environment that is built for it; empty for engines that live in servewatt's own."""
    build_variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Environment variables with which the pins are built, where pip compiles them."""
    architectures: frozenset[str] | None = None
    """Architectures of config.json that its own model code knows; None for engines over a library's model code."""
    keeps_artefacts: bool = True
    """Whether the first load of a configuration writes files (a graph, weights, kernels) that later ones use."""
    real: bool = True
    """False for an imitation, which needs no model and is never chosen unless it is named."""

    def option(self, name: str) -> Option:
        """The option called `name`; InputError, with the nearest names, if there is none."""
        for option in self.options:
            if option.name == name:
                return option
        hint = nearest(name, [o.name for o in self.options]) if self.options else "leave out the option"
        raise InputError(f"engine {self.name} has no option {name!r}", hint)

    def check_options(self, configuration: Configuration) -> None:
        """InputError, with those that it has, for an option or a value that the engine does not have."""
        for name, value in configuration.options:
            values = self.option(name).values
            if values and value not in values:
                raise InputError(
                    f"engine {self.name}: option {name} cannot be {value!r}", f"one of: {', '.join(values)}"
                )

    def check_support(self, configuration: Configuration) -> None:
        """RefusedError for a provider and a precision that the engine does not run together."""
        if (configuration.provider, configuration.precision) not in self.supports:
            able = ", ".join(f"{p.value}/{t.value}" for p, t in self.supports)
            raise RefusedError(f"{configuration.key}: {self.name} does not run this", f"it runs {able}")

    def check_installed(self) -> None:
        """UnavailableError, with the command that mends it, if packages are missing or its environment is broken."""
        if environment := self.environment():
            environment.check()
        if self.version() is None:
            raise UnavailableError(f"engine {self.name!r} is not installed", self.install_line)

    def knows(self, architecture: str) -> bool:
        """Whether it has, or may have, code for an architecture of config.json."""
        return self.architectures is None or architecture in self.architectures

    def environment(self) -> EngineEnvironment | None:
        """The environment that was built for it; None if there is none, or it needs none."""
        return find(self.name, self.pins, self.build_variables) if self.pins else None

    def problem(self) -> str:
        """Why the environment that was built for it cannot be used; empty if it can, or there is none."""
        environment = self.environment()
        return environment.problem if environment else ""

    def version(self) -> str | None:
        """Version of the engine's own package; None if any package it needs is missing.

        It is that of the environment built for it, or of servewatt's own where none was built.
        """
        environment = self.environment()
        look = environment.version if environment else metadata_version
        versions = [_version_of_any(package.split("|"), look) for package in self.packages]
        if None in versions:
            return None
        return versions[0] if versions else __version__

    @property
    def install_line(self) -> str:
        return add_line(self.name) if self.pins else f"pip install 'servewatt[{self.extra}]'"


def on(provider: Provider, precisions: Iterable[Precision]) -> tuple[tuple[Provider, Precision], ...]:
    """The pairs of one provider, for `EngineEntry.supports`."""
    return tuple((provider, precision) for precision in precisions)


def _version_of_any(packages: Sequence[str], look: Callable[[str], str | None]) -> str | None:
    return next((version for version in map(look, packages) if version is not None), None)
