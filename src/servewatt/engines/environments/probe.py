"""`python -m servewatt.engines.environments.probe TARGET PACKAGE...`: imports an engine and all that it needs.

Exits with 0 if every import works; else the exception goes to standard error.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib import metadata


def modules(distribution: metadata.Distribution) -> list[str]:
    """The importable modules that a distribution installs at the top, in order of their names."""
    found = set()
    for path in distribution.files or ():
        first = path.parts[0]
        if len(path.parts) == 2 and path.name == "__init__.py":
            found.add(first)
        elif len(path.parts) == 1 and path.suffix in (".py", ".so"):
            found.add(first.partition(".")[0])
    return sorted(name for name in found if name.isidentifier() and not name.startswith("_"))


def probe(target: str, packages: Sequence[str]) -> None:
    """Import every package (`a|b` is whichever is installed) and the engine's class; raises what that raises."""
    for package in packages:
        for name in modules(_any_of(package.split("|"))):
            importlib.import_module(name)
    module, _, attribute = target.partition(":")
    getattr(importlib.import_module(module), attribute)()


def _any_of(packages: Sequence[str]) -> metadata.Distribution:
    for package in packages[:-1]:
        try:
            return metadata.distribution(package)
        except metadata.PackageNotFoundError:
            continue
    return metadata.distribution(packages[-1])


if __name__ == "__main__":
    sys.stdout = sys.stderr  # so that what is printed stays in order, and an exception comes last
    probe(sys.argv[1], sys.argv[2:])
