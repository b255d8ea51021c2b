"""A group of commands whose modules are imported only when they are called, so that `--help` stays quick."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class BrokenFileError(Exception):
    """A file or pipe of ours ended early; its cause is what Python raised."""


class LazyGroup(click.Group):
    """Commands by name; each is the attribute `command` of a module of the same name inside `package`."""

    def __init__(
        self,
        *arguments: Any,
        package: str,
        summaries: Mapping[str, str],
        instead: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """`instead` says what to do in place of commands that one may expect and that there are not."""
        super().__init__(*arguments, **options)
        self._instead = instead or {}
        self._package = package
        self._summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._summaries:
            return None
        command: click.Command = importlib.import_module(f"{self._package}.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        # click would take the end of any file for the end of what a user types, any pipe for standard output's.
        except (EOFError, BrokenPipeError) as error:
            raise BrokenFileError from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from servewatt.errors import nearest

        if args and args[0] not in self._summaries and not args[0].startswith("-"):
            hint = self._instead.get(args[0]) or nearest(args[0], self._summaries)
            raise click.UsageError(f"no such command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)
