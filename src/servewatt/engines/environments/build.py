"""Builds an engine's environment beside the one that is there, and takes its place once it is whole."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from servewatt.engines.environments import state
from servewatt.engines.environments.state import MANIFEST, EngineEnvironment, Manifest
from servewatt.errors import InputError, UnavailableError, printable
from servewatt.processes.endings import ending
from servewatt.processes.guarded import run_guarded
from servewatt.version import __version__

OLDEST_PYTHON = (3, 11)
_LONGEST_REASON = 400
_INTERPRETER_TIMEOUT_S = 60.0
_SEARCHED_BYTES = 2**20
"""How much of the end of a log is searched for a reason."""
# They would send pip's work, or its look at what is installed, elsewhere.
_NOT_FOR_PIP = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER")
_END_OF_BUILD = "[end of output]"
_EMPTY_WORDS = ("[notice]", "hint:", "note:", "warning:", "for help visit", "╰─>", "resolutionimpossible")


def build(
    engine: str,
    requirements: Sequence[str],
    build_variables: Mapping[str, str],
    *,
    python: str,
    pip_arguments: Sequence[str] = (),
) -> EngineEnvironment:
    """Build the environment of `engine` from exact pins, replacing one that is there.

    `python` is the interpreter to build it with, by name or path; `pip_arguments` go to pip as they are, and what the
    environment has in one of the `build_variables` is put after it. Raises UnavailableError with the reason and the
    path of the log; what was there before is then untouched.
    """
    worker = state.worker_requirements(requirements)
    interpreter, version = _checked_python(python)
    home = state.root() / engine
    log_path = log_of(engine)
    with _writing(engine), _lock(engine):
        _sweep(home)
        home.mkdir(parents=True, exist_ok=True)
        # Scripts of a virtual environment hold its path, so it is built where it stays; the manifest names it.
        folder = home / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
        try:
            with log_path.open("w", encoding="utf-8") as log:
                _fill(engine, interpreter, folder, [*worker, *requirements], build_variables, pip_arguments, log)
            manifest = Manifest(
                engine=engine,
                folder=folder.name,
                requirements=tuple(requirements),
                build_variables=dict(build_variables),
                worker_requirements=worker,
                packages=state.installed(folder),
                servewatt=__version__,
                python=version,
                interpreter=str((folder / "bin" / "python").resolve()),
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            manifest.write(home / MANIFEST)
        finally:
            _sweep(home)
    built = state.find(engine, requirements, build_variables)
    assert built is not None
    return built


def remove(engine: str) -> None:
    """Remove the environment of `engine`; InputError if there is none."""
    home = state.root() / engine
    if not home.is_dir():
        raise InputError(f"engine {engine!r} has no environment here", "servewatt engines shows those that have")
    with _writing(engine), _lock(engine):
        # The manifest goes first: an interrupted removal leaves no environment that looks whole.
        (home / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(home)
        log_of(engine).unlink(missing_ok=True)


def log_of(engine: str) -> Path:
    """pip's log of the last build of the environment of `engine`."""
    return state.root() / f"{engine}.log"


def reason(log: str) -> str:
    """The last line of a log that says something: pip's own error, and the last words of a build that it ran."""
    lines = [line.strip(" │") for line in log.splitlines()]
    telling = [line for line in lines if line and not any(word in line.lower() for word in _EMPTY_WORDS)]
    errors = [line.removeprefix("ERROR: ") for line in telling if line.startswith("ERROR:")]
    built = [before for before, line in itertools.pairwise(telling) if line == _END_OF_BUILD]
    words = [*errors[-1:], *built[-1:]] or telling[-1:] or ["nothing was said"]
    return printable(": ".join(words)[:_LONGEST_REASON])


def _fill(
    engine: str,
    interpreter: str,
    folder: Path,
    requirements: Sequence[str],
    build_variables: Mapping[str, str],
    pip_arguments: Sequence[str],
    log: IO[str],
) -> None:
    variables = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_PIP}
    code = _run([interpreter, "-I", "-m", "venv", str(folder)], variables, log)
    if code != 0:
        raise _failed(engine, "python -m venv", code, "on Debian and Ubuntu: apt-get install python3-venv")
    pip = [str(folder / "bin" / "python"), "-I", "-m", "pip", "install", "--no-input", "--progress-bar=off"]
    if build_variables:
        # pip keeps the wheels it builds by name and version, whatever the variables were.
        pip.append("--no-cache-dir")
    variables |= {"PATH": os.pathsep.join((str(folder / "bin"), variables.get("PATH", os.defpath)))}
    code = _run([*pip, *requirements, *pip_arguments], variables | _joined(build_variables, variables), log)
    if code != 0:
        raise _failed(engine, "pip install", code, "")


def _run(command: Sequence[str], variables: Mapping[str, str], log: IO[str]) -> int:
    """The exit code of a command that writes to `log`; compilers that it started end with it, and with us."""
    return run_guarded(command, timeout_s=math.inf, environment=variables, log=log).returncode


def _joined(build_variables: Mapping[str, str], users: Mapping[str, str]) -> dict[str, str]:
    """The variables of a build, each followed by what the user has set in one of the same name, such as CMAKE_ARGS."""
    return {name: f"{value} {users.get(name, '')}".strip() for name, value in build_variables.items()}


def _failed(engine: str, step: str, code: int, hint: str) -> UnavailableError:
    with log_of(engine).open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _SEARCHED_BYTES))
        why = reason(log.read().decode(errors="replace"))
    hint = f"all of what it said: {log_of(engine)}" + (f"; {hint}" if hint else "")
    return UnavailableError(f"no environment was built for engine {engine!r}: {step}, {ending(code)}: {why}", hint)


def _checked_python(python: str) -> tuple[str, str]:
    """(path, version) of an interpreter by name or path."""
    path = shutil.which(python)
    if path is None:
        raise InputError(f"there is no interpreter {python!r}", "give --python the path of a Python 3.11 or newer")
    ask = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    try:
        done = subprocess.run(
            [path, "-I", "-c", ask],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_INTERPRETER_TIMEOUT_S,
            check=False,
        )
        version = done.stdout.strip()
        known = tuple(map(int, version.split(".")))
    except (ValueError, OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{path} does not run as a Python interpreter", "give --python another") from error
    if known < OLDEST_PYTHON:
        raise InputError(f"{path} is Python {version}", "servewatt needs Python 3.11 or newer; give --python another")
    return path, version


def _sweep(home: Path) -> None:
    """Remove what the manifest does not name: the predecessor, or what an interrupted build left."""
    if not home.is_dir():
        return
    try:
        kept = {MANIFEST, Manifest.read(home / MANIFEST).folder}
    except FileNotFoundError:
        kept = set()
    except (OSError, ValueError):
        kept = {MANIFEST}
    for path in home.iterdir():
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    if not kept:
        with contextlib.suppress(OSError):
            home.rmdir()


@contextlib.contextmanager
def _lock(engine: str) -> Iterator[None]:
    """Hold the environment of `engine`; UnavailableError if another process builds or removes it."""
    path = state.root() / f".{engine}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "wait until it has ended"
            raise UnavailableError(f"another process is at the environment of engine {engine!r}", hint) from error
        yield


@contextlib.contextmanager
def _writing(engine: str) -> Iterator[None]:
    """Turn an OSError into an error that names the folder and the way out."""
    try:
        yield
    except OSError as error:
        where = error.filename or state.root() / engine
        hint = "free disk space, or set XDG_DATA_HOME to a folder you may write"
        raise UnavailableError(f"cannot write {where}: {error.strerror}", hint) from error
