"""Starts a command and outlives it: when the command or its parent ends, everything that it started is killed.

`python -I -S guardian.py PARENT_PID CONTROL_FD STATUS_FD LOG_FD ANSWER_FD COMMAND...`, run by `guarded.py`; it must
import nothing but the standard library. It is the subreaper of the command's descendants, so one that has a session of
its own, or whose parent has ended, is still among its own. It sleeps in poll(2) until

- the command ends, or
- the parent dies (even by SIGKILL), or closes the other end of CONTROL_FD,

then kills every descendant until none is left and writes to STATUS_FD how the command ended. Standard output and error
of the command come through LOG_FD (-1: they go to a file that the parent has opened). Only the end is kept, in memory,
so that a long log fills no disk. ANSWER_FD goes on to the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import sys
import time
from io import FileIO

PARENT_PID = "@PARENT_PID@"
"""Stands for the guardian's process id among the arguments of a command."""
LOG_BYTES = 4000
"""Bytes kept of the end of a log."""
LOG_PAUSE_S = 0.5
"""Least seconds between two reads of a log pipe that is not nearly full, so that the guardian hardly uses a CPU."""
GIVE_UP_S = 60.0
"""Seconds for which it tries to kill a process that does not die, such as one that waits for a dead network disk."""
_PIPE_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies, even by kill -9."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Another parent: it died before the call above. None: it lives outside this process's PID namespace.
    if os.getppid() not in (parent_pid, 0):
        os._exit(1)


def descendants(pid: int) -> list[int]:
    """The living descendants of `pid`, parents first; zombies are left out."""
    by_parent: dict[int, list[int]] = {}
    dead = set()
    with os.scandir("/proc") as entries:
        names = [entry.name for entry in entries if entry.name.isdigit()]
    for name in names:
        try:
            with FileIO(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        by_parent.setdefault(int(fields[1]), []).append(int(name))
        if fields[0] in (b"Z", b"X"):
            dead.add(int(name))
    found = by_parent.get(pid, [])[:]
    for member in found:
        found += by_parent.get(member, [])
    return [member for member in found if member not in dead]


def kill_descendants(pid: int) -> None:
    """Kill the descendants of `pid` that are there now, each stopped first so that it cannot start another."""
    stopped: set[int] = set()
    while new := set(descendants(pid)) - stopped:
        for member in new:
            _send(member, signal.SIGSTOP)
        stopped |= new
    for member in stopped:
        _send(member, signal.SIGKILL)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class Guardian:
    """The command, and what is left of its log."""

    def __init__(self, parent_pid: int, control_fd: int, log_fd: int) -> None:
        self._control_fd = control_fd
        self._log_fd = log_fd
        self._log = b""
        self._log_pauses_until_s: float | None = None
        self._child_pid = 0
        self._status: int | None = None
        self._asked_to_end = False
        self._poller = select.poll()
        self._wake_fd = _wake_up_by_signals()
        self._parent_fd = os.pidfd_open(parent_pid)
        if os.getppid() != parent_pid:  # it died before the call above
            sys.exit(1)
        for fd in (control_fd, self._parent_fd, self._wake_fd):
            self._poller.register(fd, select.POLLIN)
        if log_fd >= 0:
            os.set_blocking(log_fd, False)
            with contextlib.suppress(OSError):  # pipes of this user hold all that they may
                fcntl.fcntl(log_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            self._log_room = fcntl.fcntl(log_fd, fcntl.F_GETPIPE_SZ)
            self._poller.register(log_fd, select.POLLIN)

    def start(self, command: list[str], answer_fds: tuple[int, ...]) -> None:
        """Start the command in a session of its own, to be killed by the kernel if this process dies. OSError."""
        own_pid = os.getpid()
        error_from, error_to = os.pipe()  # closed when the command is executed
        self._child_pid = os.fork()
        if self._child_pid == 0:
            _execute([str(own_pid) if word == PARENT_PID else word for word in command], own_pid, error_to)
        os.close(error_to)
        with FileIO(error_from) as pipe:
            if number := pipe.read():
                raise OSError(int(number), os.strerror(int(number)))
        # The answer and the log end when their last writer does, which must not be this process.
        with FileIO(os.devnull, "wb") as nowhere:
            for fd in (*answer_fds, *((1, 2) if self._log_fd >= 0 else ())):
                os.dup2(nowhere.fileno(), fd)

    def watch(self) -> None:
        """Sleep until the command has ended or is to be ended."""
        while self._status is None and not self._asked_to_end:
            ready = {fd for fd, _ in self._poller.poll(self._pause_ms())}
            if self._wake_fd in ready:
                self._take_signals()
            if self._control_fd in ready or self._parent_fd in ready:
                self._asked_to_end = True
            if self._log_fd in ready:
                self._look_at_log()

    def end_all(self) -> tuple[int | None, bytes]:
        """Kill whatever is left; the command's wait status, None if it could not be killed, and the log's end."""
        give_up_s = time.monotonic() + GIVE_UP_S
        pause_s = 0.001
        while self._reap() and time.monotonic() < give_up_s:
            kill_descendants(os.getpid())
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.2)
        if self._log_fd >= 0:
            self._drain()
        return self._status, self._log

    def _take_signals(self) -> None:
        if set(os.read(self._wake_fd, 4096)) & set(_ENDING_SIGNALS):
            self._asked_to_end = True
        self._reap()

    def _reap(self) -> bool:
        """Reap children that have ended; whether others are left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._child_pid:
                self._status = status

    def _pause_ms(self) -> float | None:
        if self._log_pauses_until_s is None:
            return None
        left_s = self._log_pauses_until_s - time.monotonic()
        if left_s > 0:
            return left_s * 1e3
        self._log_pauses_until_s = None
        self._poller.register(self._log_fd, select.POLLIN)
        return None

    def _look_at_log(self) -> None:
        size = self._drain()
        if size is None:
            self._poller.unregister(self._log_fd)
        elif size < self._log_room // 2:
            self._poller.unregister(self._log_fd)
            self._log_pauses_until_s = time.monotonic() + LOG_PAUSE_S

    def _drain(self) -> int | None:
        """Take what the log's pipe holds now; its size, or None if nobody can write to it any more."""
        try:
            chunk = os.read(self._log_fd, _PIPE_BYTES)
        except BlockingIOError:
            return 0
        self._log = (self._log + chunk)[-LOG_BYTES:]
        return len(chunk) or None


def _execute(command: list[str], parent_pid: int, error_fd: int) -> None:
    """Become the command; its errno goes to `error_fd` where that fails."""
    try:
        os.setsid()
        die_with_parent(parent_pid)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(error_fd, str(error.errno).encode())
    finally:
        os._exit(127)


def _wake_up_by_signals() -> int:
    """A file descriptor from which the numbers of signals that come can be read."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *_ENDING_SIGNALS):
        signal.signal(number, lambda _number, _frame: None)
    return read_fd


def main(arguments: list[str]) -> None:
    """Write one line to the status pipe, then the end of the log: `ended STATUS`, `stuck` or `failed ERRNO`."""
    parent_pid, control_fd, status_fd, log_fd, answer_fd = map(int, arguments[:5])
    for fd in (control_fd, status_fd, *([log_fd] if log_fd >= 0 else [])):
        os.set_inheritable(fd, False)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        guardian = Guardian(parent_pid, control_fd, log_fd)
        guardian.start(arguments[5:], (answer_fd,) if answer_fd >= 0 else ())
    except OSError as error:
        os.write(status_fd, f"failed {error.errno}\n".encode())
        return
    guardian.watch()
    status, log = guardian.end_all()
    with contextlib.suppress(BrokenPipeError):  # the parent is gone
        os.write(status_fd, (b"stuck\n" if status is None else b"ended %d\n" % status) + log)


if __name__ == "__main__":
    main(sys.argv[1:])
