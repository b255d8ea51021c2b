"""Messages and exit codes of commands that fail."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

from servewatt.cli.hints import worded
from servewatt.cli.lazy import BrokenFileError
from servewatt.cli.streams import ReaderLeftError
from servewatt.errors import ServewattError
from servewatt.version import __version__

ERROR = 2
INTERRUPTED = 130
MOST_CHARACTERS = 300
"""Of an unexpected error's own words."""


def exit_code(error: BaseException) -> int:
    """Tell what ended the command, in a line or two on standard error; the exit code."""
    if isinstance(error, BrokenFileError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ReaderLeftError):
        return 0
    if isinstance(error, KeyboardInterrupt | click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    if isinstance(error, ServewattError):
        tell(error)
    elif isinstance(error, click.ClickException):
        tell(_of_usage(error))
    else:
        _tell_unexpected(error)
    return ERROR


def tell(error: ServewattError) -> None:
    """The message, and the hint if there is one."""
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {worded(error.hint)}", err=True)


def _of_usage(error: click.ClickException) -> ServewattError:
    """Errors of usage, in the form of every other error."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    message = error.format_message().strip()
    if isinstance(error, click.NoSuchOption):
        message = f"no such option {error.option_name}"
    hint = f"`{context.command_path} --help` lists what there is" if context else ""
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        hint = f"did you mean {' or '.join(sorted(error.possibilities))}? {hint}"
    first = message[:1].lower() if message[1:2].islower() else message[:1]
    return ServewattError(first + message[1:].rstrip("."), hint)


def _tell_unexpected(error: BaseException) -> None:
    words = " ".join(str(error).split())
    if len(words) > MOST_CHARACTERS:
        words = words[:MOST_CHARACTERS] + "..."
    kind = type(error).__name__
    click.echo(f"error: unexpected {kind}: {words}" if words else f"error: unexpected {kind}", err=True)
    file = _keep_traceback(error)
    where = f"its traceback is in {file}" if file else f"it came from {_origin(error)}"
    click.echo(f"hint: this is a fault of servewatt, please report it; {where}", err=True)


def _keep_traceback(error: BaseException) -> Path | None:
    """Write the traceback to a file that only the user may read; its path, None where no folder takes it."""
    text = "".join(traceback.format_exception(error))
    about = f"servewatt {__version__}, Python {platform.python_version()}, {platform.platform()}\n{sys.argv}\n\n"
    name = f"traceback-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}.txt"
    for folder in _folders():
        file = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
                opened.write((about + text).encode(errors="backslashreplace"))
        except (OSError, ValueError):
            continue
        return file
    return None


def _folders() -> Iterator[Path]:
    """Where tracebacks may lie, the user's own data folder first."""
    stated = Path(os.environ.get("XDG_DATA_HOME", ""))
    if stated.is_absolute():
        yield stated / "servewatt"
    with suppress(RuntimeError):  # no home folder is known
        yield Path.home() / ".local" / "share" / "servewatt"
    yield Path(tempfile.gettempdir())


def _origin(error: BaseException) -> str:
    """File and line of ours that the error came through last."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename).is_relative_to(Path(__file__).parents[1])]
    return ", ".join(f"{f.filename}:{f.lineno}" for f in own[-1:]) or "no file of servewatt"
