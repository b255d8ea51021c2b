"""How far a command is, on standard error: drawn on a terminal, a line for each finished step elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import singledispatchmethod

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.status import Status as Spinner

from servewatt.cli.hints import worded
from servewatt.experiment import events
from servewatt.experiment.events import Event, Level, left
from servewatt.records import Status

WORTH_A_LINE_S = 1.0
"""Shorter steps are not told where nothing can be drawn."""

_STYLES = {Level.INFO: "", Level.NOTICE: "yellow", Level.WARNING: "yellow", Level.ERROR: "red"}


def can_draw(console: Console) -> bool:
    """Whether output can be overwritten: not in a file, a pipe, or a terminal without cursor movements."""
    return console.is_terminal and not console.is_dumb_terminal


def step(console: Console, text: str) -> AbstractContextManager[None]:
    """Show that `text` is being done; elsewhere than on a terminal, that it was, and how long it took."""
    return events.step(ConsoleObserver(console), text)


def say(console: Console, text: str, style: str = "") -> None:
    """A line as it is, markup and all; a terminal's width breaks it between words, a file or pipe has it whole."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not can_draw(console))


class ConsoleObserver:
    """Shows what the pipeline tells."""

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        """`verbose` names every configuration that is left out of a plan."""
        self._console = console
        self._verbose = verbose
        self._spinner: Spinner | None = None
        self._trials: _Bar | None = None
        self._race: _RaceLine | None = None

    @singledispatchmethod
    def notice(self, event: Event, /) -> None:
        """Show an event; those without a form of their own are their sentence."""
        say(self._console, str(event))

    @notice.register
    def _(self, event: events.Note) -> None:
        prefix = "warning: " if event.level is Level.WARNING else ""
        say(self._console, prefix + event.text, _STYLES[event.level])
        if event.advice:
            say(self._console, f"  {worded(event.advice)}")

    @notice.register
    def _(self, event: events.StepBegan) -> None:
        if can_draw(self._console):
            dots = "line" if self._console.options.ascii_only else "dots"
            self._spinner = self._console.status(escape(event.name), spinner=dots)
            self._spinner.start()

    @notice.register
    def _(self, event: events.StepEnded) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None
        elif event.finished and event.took_s >= WORTH_A_LINE_S:
            say(self._console, str(event))

    @notice.register
    def _(self, event: events.Planned) -> None:
        from servewatt.cli.plan_table import show_plan

        show_plan(self._console, event.view, verbose=self._verbose)

    @notice.register
    def _(self, event: events.PreparationFailed) -> None:
        result = event.result
        key_and_reason = escape(f"{result.trial.configuration.key}: {result.reason}")
        self._console.print(f"[red]{result.status.value}[/] {key_and_reason}")
        if result.hint:
            self._console.print(f"  {escape(result.hint)}", style="dim")

    @notice.register
    def _(self, event: events.TrialsBegan) -> None:
        if can_draw(self._console):
            self._trials = _Bar(self._console, event)

    @notice.register
    def _(self, event: events.TrialBegan) -> None:
        if self._trials is not None:
            self._trials.before(event)

    @notice.register
    def _(self, event: events.TrialEnded) -> None:
        if self._trials is not None:
            self._trials.after(event)
        else:
            say(self._console, str(event))

    @notice.register
    def _(self, event: events.TrialsEnded) -> None:
        if self._trials is not None:
            self._trials.close(finished=event.finished)
            self._trials = None

    @notice.register
    def _(self, event: events.EpisodeBegan) -> None:
        if can_draw(self._console):
            self._race = self._race or _RaceLine(self._console)
            self._race.show(f"{event}", event.left_s)
        else:
            say(self._console, f"{event}: {', '.join(c.key for c in event.configurations)}")

    @notice.register
    def _(self, event: events.SliceEnded) -> None:
        if self._race is not None:
            self._race.show(str(event), event.left_s)

    @notice.register
    def _(self, event: events.EpisodeEnded) -> None:
        if self._race is not None:
            self._race.close()
            self._race = None
        say(self._console, str(event))

    @notice.register
    def _(self, event: events.AlreadyComplete) -> None:
        say(self._console, f"{event}; --fresh measures again")

    @notice.register
    def _(self, event: events.Interrupted) -> None:
        if self._race is not None:
            self._race.close()
            self._race = None
        say(self._console, f"\nstopped; what is done is kept. The same command goes on with run {event.run_id}.")


class _RaceLine:
    """What a race does, in a line that is drawn only between slices, for the reason that `_Bar` gives."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), TextColumn("{task.fields[left]}"), TimeElapsedColumn())
        self._line = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self._task = self._line.add_task("", left="")
        self._line.start()

    def show(self, text: str, left_s: float) -> None:
        left = f"at most {events.duration(left_s)} left"
        self._line.update(self._task, description=escape(text), left=left, refresh=True)

    def close(self) -> None:
        self._line.stop()


class _Bar:
    """The trials of a run as a bar.

    It is drawn only between trials: a refreshing thread would work inside the measured window.
    """

    def __init__(self, console: Console, began: events.TrialsBegan) -> None:
        self._console = console
        self._blocks = began.blocks
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,
        )
        self._task = self._bar.add_task("measuring", total=began.total, completed=began.done, left=left(began.left_s))
        self._bar.start()

    def before(self, event: events.TrialBegan) -> None:
        name = f"block {event.block + 1}/{self._blocks} {event.configuration.key}"
        self._bar.update(self._task, description=escape(name), refresh=True)

    def after(self, event: events.TrialEnded) -> None:
        result = event.result
        if result.status is not Status.OK:
            say(self._console, f"{result.status.value} {result.trial.configuration.key}: {result.reason}", "yellow")
        self._bar.update(self._task, total=event.total, completed=event.done, left=left(event.left_s))

    def close(self, *, finished: bool) -> None:
        if finished:
            self._bar.update(self._task, description="measured", refresh=True)
        self._bar.stop()
