"""How far a command is, on standard error: drawn on a terminal, a line for each finished step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from servewatt.cli.plan_view import duration
from servewatt.records import Result, Status

WORTH_A_LINE_S = 1.0
"""Shorter steps are not told where nothing can be drawn."""


def can_draw(console: Console) -> bool:
    """Whether what was written can be overwritten: in no file, no pipe and no terminal without movements."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def step(console: Console, text: str) -> Iterator[None]:
    """Show that `text` is being done; elsewhere than on a terminal, that it was, and how long it took."""
    begin_s = time.monotonic()
    if can_draw(console):
        with console.status(escape(text), spinner="line" if console.options.ascii_only else "dots"):
            yield
        return
    yield
    took_s = time.monotonic() - begin_s
    if took_s >= WORTH_A_LINE_S:
        say(console, f"{text} ({duration(took_s)})")


def say(console: Console, text: str, style: str = "") -> None:
    """A line as it is, markup and all; a terminal's width breaks it between words, a file or pipe has it whole."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not can_draw(console))


class TrialProgress:
    """The trials of a run: a bar, or a line for each.

    The bar is drawn only between trials: a refreshing thread would work inside the measured window.
    """

    def __init__(self, console: Console, blocks: int, *, total: int, done: int, left: Callable[[], str]) -> None:
        """`left` tells the time that the rest takes, such as `about 3 min left`."""
        self._console = console
        self._blocks = blocks
        self._left = left
        self._began_s = time.monotonic()
        self._bar: Progress | None = None
        if can_draw(console):
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
                TimeElapsedColumn(),
                console=console,
                auto_refresh=False,
            )
            self._task = self._bar.add_task("measuring", total=total, completed=done, left=left())

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            if error is None:
                self._bar.update(self._task, description="measured", refresh=True)
            self._bar.stop()

    def before(self, block: int, key: str) -> None:
        """A trial of the configuration `key` is about to start; blocks count from 0."""
        self._began_s = time.monotonic()
        if self._bar is not None:
            name = f"block {block + 1}/{self._blocks} {key}"
            self._bar.update(self._task, description=escape(name), refresh=True)

    def after(self, result: Result, *, done: int, total: int) -> None:
        """It has ended, and `done` of `total` trials are."""
        key, ok = result.trial.configuration.key, result.status is Status.OK
        if self._bar is not None:
            if not ok:
                say(self._bar.console, f"{result.status.value} {key}: {result.reason}", "yellow")
            self._bar.update(self._task, total=total, completed=done, left=self._left())
            return
        took = duration(time.monotonic() - self._began_s)
        outcome = "ok" if ok else f"{result.status.value}: {result.reason}"
        left = f"; {self._left()}" if done < total else ""
        say(self._console, f"trial {done}/{total}, block {result.trial.block + 1}/{self._blocks}, {key}: {outcome} "
            f"({took}{left})")  # fmt: skip
