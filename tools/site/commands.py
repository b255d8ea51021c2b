"""The reference of the command line: the `--help` of every command, as a page a command."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Iterator

import click

WIDTH = 96
"""Columns of the help texts: what fits beside the navigation of a page."""


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its path, such as `("study", "run")`; the root has the empty path."""
    from servewatt.cli.root import command

    yield from _walk((), command)


def _walk(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from _walk((*path, name), inner)


def help_text(path: tuple[str, ...], command: click.Command) -> str:
    """What `servewatt PATH --help` prints, at `WIDTH` columns."""
    context = click.Context(
        command,
        info_name=" ".join(("servewatt", *path)),
        max_content_width=WIDTH,
        terminal_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    return command.get_help(context).rstrip()


def output(line: str) -> str:
    """What `servewatt LINE` prints, below the command."""
    from servewatt.cli.main import run

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = run(shlex.split(line))
    if code:
        raise ValueError(f"servewatt {line} ended with {code}")
    return f"```console\n$ servewatt {line}\n{printed.getvalue().rstrip()}\n```"


def pages() -> dict[str, str]:
    """File name -> Markdown: `index.md`, and a page for each command directly below the root."""
    texts: dict[str, list[str]] = {}
    rows = ["| command | |", "|---|---|"]
    overview = ""
    for path, command in commands():
        block = f"```text\n{help_text(path, command)}\n```"
        if not path:
            overview = block
            continue
        if len(path) == 1:
            rows.append(f"| [`servewatt {path[0]}`]({path[0]}.md) | {command.get_short_help_str(200)} |")
        texts.setdefault(path[0], []).append(f"{'#' * len(path)} servewatt {' '.join(path)}\n\n{block}")
    index = ["# Commands", "Made from `--help`; each command prints the same text.", "\n".join(rows), overview]
    return {"index.md": _joined(index)} | {f"{name}.md": _joined(parts) for name, parts in texts.items()}


def _joined(parts: list[str]) -> str:
    return "\n\n".join(parts) + "\n"
