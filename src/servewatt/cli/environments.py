"""The work of `servewatt engines add` and `remove`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import click
from rich.console import Console

from servewatt import engines
from servewatt.cli.ending import tell
from servewatt.cli.progress import can_draw, say, step
from servewatt.engines.environments.build import build, log_of, remove
from servewatt.engines.environments.state import root
from servewatt.errors import InputError, ServewattError
from servewatt.experiment.events import duration
from servewatt.input_files import is_there


def add_environments(names: Sequence[str], python: str | None, pip_arguments: Sequence[str], *, rebuild: bool) -> int:
    """Build what is missing or broken; one that fails does not keep the others from being built.

    The exit code: 2 if one failed. Raises InputError, before anything is built, for names that do not exist and
    engines that have no environment of their own.
    """
    entries = [engines.entry(name) for name in dict.fromkeys(names)]
    for e in entries:
        if not e.pins:
            hint = f"install it there: {e.install_line}" if e.packages else "it needs nothing to be installed"
            raise InputError(f"engine {e.name!r} runs in servewatt's own environment", hint)
    failed = False
    console = Console(stderr=True)
    for e in entries:
        environment = e.environment()
        if environment is not None and not environment.problem and not rebuild:
            click.echo(f"{e.name}: version {e.version()} is in order in {environment.folder}")
            continue
        begin_s = time.monotonic()
        try:
            if not can_draw(console):
                say(console, f"building the environment of {e.name}, which takes minutes; pip's log: {log_of(e.name)}")
            with step(console, f"building the environment of {e.name}; pip's log: {log_of(e.name)}"):
                built = build(
                    e.name,
                    e.pins,
                    e.build_variables,
                    python=python or sys.executable,
                    pip_arguments=pip_arguments,
                )
            built.check()
        except ServewattError as error:
            failed = True
            tell(error)
        else:
            took_s = time.monotonic() - begin_s
            click.echo(f"{e.name}: version {e.version()} built in {built.folder} ({duration(took_s)})")
            click.echo(f"  next: servewatt run --engine {e.name}")
    return 2 if failed else 0


def remove_environments(names: Sequence[str]) -> None:
    """Remove each; an engine that servewatt no longer has can be removed too."""
    for name in dict.fromkeys(names):
        # Anything but the name of one folder could refer to the whole folder, or to another.
        folder = root() / name
        if not name or name.startswith(".") or "/" in name or not (is_there(folder) and folder.is_dir()):
            engines.entry(name)
        remove(name)
        click.echo(f"{name}: removed")
