"""Failures of the fake engine while it generates, by the value of its option `fail`.

For tests of what surrounds an engine: that whatever one does, it ends, with a reason, and leaves nothing behind.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from servewatt.processes.command import python_command
from servewatt.processes.guardian import descendants

_DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


_ENDING = signal.valid_signals() - {
    *(signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT),  # do nothing
    *(signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),  # stop
    *(signal.SIGPIPE, signal.SIGXFSZ),  # ignored by Python
}
"""Signals that end a process, those of real time among them."""
_ERRORS: tuple[BaseException, ...] = (
    *(KeyboardInterrupt(), SystemExit(3), GeneratorExit(), StopIteration(), AssertionError(), RecursionError("deep")),
    *(
        ValueError("\x1b[31mred\u202e"),
        UnicodeError("\udcff"),
        ConnectionResetError(104, "reset"),
        ArithmeticError("0/0"),
    ),
    *(
        TimeoutError("late"),
        PermissionError(13, "no"),
        FileNotFoundError(2, "none", "x"),
        ImportError("no such library"),
    ),
)
"""Of every family, with text that a terminal would obey, that no file can hold, or none."""


def _raise(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def _die(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def start_children() -> None:
    """Three processes that stay: a child, one with a session of its own, and a daemon, which has no parent any more.

    All ignore SIGTERM.
    """
    deaf = python_command("-c", _DEAF)
    subprocess.Popen(deaf)
    subprocess.Popen(deaf, start_new_session=True)
    starts_it = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
    subprocess.run(python_command("-c", starts_it, *deaf), check=True)
    time.sleep(0.3)  # until they have said that they ignore the signal


def _start_children_and_hang() -> None:
    start_children()
    signal.pause()


def _fork_and_die() -> None:
    """Leave a child that holds every file and connection open, as forked workers do."""
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def _flood() -> None:
    line = b"\x1b[31mthe fake engine talks without end\xff\n" * 1000
    for _ in range(2000):
        sys.stderr.buffer.write(line)
    raise RuntimeError("the fake engine has talked long enough")


def _die_at_exit() -> None:
    atexit.register(os.kill, os.getpid(), signal.SIGSEGV)


def _never_end() -> None:
    threading.Thread(target=signal.sigwait, args=([signal.SIGUSR1],)).start()


def _to_sampler(number: int) -> Callable[[], None]:
    def send() -> None:
        for pid in descendants(os.getpid()):
            if "servewatt.harness.sampler" in Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
                os.kill(pid, number)

    return send


GENERATING: dict[str, Callable[[], object]] = {
    "generate": _raise(RuntimeError("the fake engine was asked to fail")),
    "memory": _raise(MemoryError("the fake engine was asked to run out of memory")),
    "disk-full": _raise(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    "no-more-files": _raise(OSError(errno.EMFILE, os.strerror(errno.EMFILE))),
    "no-more-processes": _raise(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))),
    "long-reason": _raise(RuntimeError("\x1b[2J\udcff" + "x" * 5_000_000)),
    "segv": _die(signal.SIGSEGV),
    "kill": _die(signal.SIGKILL),
    "abort": os.abort,
    "realtime-signal": _die(signal.SIGRTMIN + 3),
    "exit": lambda: os._exit(7),
    "die-at-exit": _die_at_exit,
    "never-end": _never_end,
    "hang": signal.pause,
    "stop": _die(signal.SIGSTOP),
    "children": start_children,
    "children-hang": _start_children_and_hang,
    "fork-and-die": _fork_and_die,
    "flood": _flood,
    "close-files": lambda: os.closerange(3, 1024),
    "kill-guardian": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "stop-guardian": lambda: os.kill(os.getppid(), signal.SIGSTOP),
    "kill-sampler": _to_sampler(signal.SIGKILL),
    "stop-sampler": _to_sampler(signal.SIGSTOP),
    **{f"signal-{number}": _die(number) for number in sorted(_ENDING)},
    **{f"exit-{code}": partial(os._exit, code) for code in (0, 1, 2, 77, 126, 127, 128, 130, 137, 139, 143, 255)},
    **{f"raise-{type(error).__name__}": _raise(error) for error in _ERRORS},
}
"""Name -> what happens at the beginning of the first generation, or when probabilities are asked first."""
