"""Runs commands under a guardian process. It kills whatever they started when they end, and when this process ends."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import IO

from servewatt.errors import ServewattError, brief
from servewatt.processes import guardian
from servewatt.processes.guardian import PARENT_PID

__all__ = ["ANSWER_FD", "END_TIMEOUT_S", "MOST_ANSWER_BYTES", "PARENT_PID", "Ended", "run_guarded"]

MOST_ANSWER_BYTES = 64 * 2**20
"""A longer answer is refused: read as a record it would take several times as much memory."""
END_TIMEOUT_S = 10.0
"""How long a process may take to end once it has given an answer and closed the pipe."""
ANSWER_FD = "@ANSWER_FD@"
"""Stands for the number of the answer pipe's file descriptor among the arguments of a command."""

_MARK = "SERVEWATT_GUARDED"
"""Environment variable that names the guardian of a process."""
_LONGEST_POLL_MS = 1e9
_READ_BYTES = 1 << 20
_HINTS = {
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "end programs that hold many files open",
    errno.EAGAIN: "end other processes, or raise the limit of processes (ulimit -u)",
    errno.ENOMEM: "free memory and run the same command again",
    errno.ENOSPC: "free space where temporary files lie, or set TMPDIR to a folder that has some",
    errno.ENOENT: "is the Python environment still there? servewatt doctor",
}


@dataclass(frozen=True)
class Ended:
    """How a child ended, and its answer and log."""

    returncode: int
    """Exit code, or the negative number of the signal that killed it."""
    timed_out: bool
    answer: bytes
    """Bytes that it wrote to its answer pipe, at most MOST_ANSWER_BYTES."""
    log: str
    """The end of what it wrote to standard output and error."""
    waiter_cpu_s: float
    """CPU time this process used while it waited."""
    answer_too_long: bool = False
    lingered: bool = False
    """Whether it was killed because it did not end after its answer."""

    @property
    def last_words(self) -> str:
        """The last line of the log."""
        return brief(self.log.strip().rpartition("\n")[2])


def run_guarded(
    command: Sequence[str],
    question: bytes = b"",
    *,
    timeout_s: float,
    environment: Mapping[str, str],
    log: IO[str] | None = None,
) -> Ended:
    """Run `command` with `question` on its standard input, and end with it all that it started.

    Its arguments ANSWER_FD and PARENT_PID are replaced by their values. Standard output and error go to the file `log`,
    where one is given. The caller sleeps in poll(2) until the command has ended: a wait that polls by the clock would
    take CPU time inside the measured window. On KeyboardInterrupt, or any other exception, and if this process dies,
    the command and everything it started are killed. ServewattError where it cannot be started.
    """
    try:
        with contextlib.ExitStack() as stack:
            guarded = start(stack, command, file_with(stack, question), environment, log)
            try:
                cpu_before_s = time.process_time()
                timed_out = guarded.await_end(time.monotonic() + timeout_s)
                waiter_cpu_s = time.process_time() - cpu_before_s
            finally:
                guarded.end()
            return guarded.ended(timed_out=timed_out, waiter_cpu_s=waiter_cpu_s)
    except OSError as error:
        raise cannot_start(error) from error


def cannot_start(error: OSError) -> ServewattError:
    """Why a process could not be started, and what to do."""
    return ServewattError(f"cannot start a process: {error.strerror or error}", _HINTS.get(error.errno or 0, ""))


@dataclass
class Guarded:
    """A command that runs under a guardian."""

    child: subprocess.Popen[bytes]
    """The guardian."""
    mark: str
    control: FileIO
    answer_from: FileIO
    status_from: FileIO
    answer: bytearray = field(default_factory=bytearray)
    answer_too_long: bool = False
    lingered: bool = False
    status: bytes = b""

    def await_end(self, deadline_s: float) -> bool:
        """Collect the answer until the command has ended, or is to be ended; whether the deadline passed first."""
        poller = select.poll()
        poller.register(self.answer_from, select.POLLIN)
        poller.register(self.status_from, select.POLLIN)
        answered = False
        # Check once more after the deadline: this process may have been stopped meanwhile, as by Ctrl-Z.
        while (left_ms := max(0.0, (deadline_s - time.monotonic()) * 1e3)) or poller.poll(0):
            ready = {fd for fd, _ in poller.poll(min(left_ms, _LONGEST_POLL_MS))}
            if self.answer_from.fileno() in ready:
                chunk = os.read(self.answer_from.fileno(), _READ_BYTES)
                self.answer += chunk
                if len(self.answer) > MOST_ANSWER_BYTES:
                    self.answer_too_long = True
                    return False
                if not chunk:
                    poller.unregister(self.answer_from)
                    if self.answer:
                        answered = True
                        deadline_s = min(deadline_s, time.monotonic() + END_TIMEOUT_S)
            elif ready:
                return False
        self.lingered = answered
        return not answered

    def end(self) -> None:
        """Have the guardian kill the rest of the command's processes, or kill them here if it cannot. The command has
        then ended."""
        self.control.close()
        # A stopped guardian would never react.
        self.child.send_signal(signal.SIGCONT)
        poller = select.poll()
        poller.register(self.status_from, select.POLLIN)
        if poller.poll((guardian.GIVE_UP_S + END_TIMEOUT_S) * 1e3):
            self.status = self.status_from.readall()
        if not self.status:
            _kill_marked(self.mark)
            guardian.kill_descendants(self.child.pid)
            self.child.kill()
        self.child.wait()

    def ended(self, *, timed_out: bool, waiter_cpu_s: float) -> Ended:
        """How it ended, after `end`. Raises OSError if it never started."""
        returncode, said = self._outcome()
        return Ended(
            returncode=returncode,
            timed_out=timed_out,
            answer=bytes(self.answer),
            log=said.decode(errors="replace"),
            waiter_cpu_s=waiter_cpu_s,
            answer_too_long=self.answer_too_long,
            lingered=self.lingered,
        )

    def _outcome(self) -> tuple[int, bytes]:
        """The command's exit code, or negative signal number, and the end of its log. OSError if it never started."""
        head, _, log = self.status.partition(b"\n")
        match head.split():
            case [b"ended", status]:
                return os.waitstatus_to_exitcode(int(status)), log
            case [b"failed", number]:
                raise OSError(int(number), os.strerror(int(number)))
            case [b"stuck"]:
                return -signal.SIGKILL, log + b"\nservewatt: it did not end when it was killed\n"
            case _:  # the kernel kills the command when its guardian dies
                return -signal.SIGKILL, b"servewatt: the process that guards it was killed\n"


def start(
    stack: contextlib.ExitStack,
    command: Sequence[str],
    asked: FileIO,
    environment: Mapping[str, str],
    log: IO[str] | None = None,
) -> Guarded:
    """The command under a guardian, with `asked` as its standard input; what is opened for it is closed with `stack`.

    Raises OSError if the guardian cannot be started.
    """
    answer_from, answer_to = pipe(stack)
    status_from, status_to = pipe(stack)
    control_from, control = pipe(stack)
    log_from, log_to = pipe(stack) if log is None else (None, None)
    given = [control_from, status_to, log_from, answer_to]
    numbers = [file.fileno() if file else -1 for file in given]
    said_to = log_to or log
    mark = os.urandom(16).hex()
    child = subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", guardian.__file__, str(os.getpid()), *map(str, numbers)),
            *(str(answer_to.fileno()) if word == ANSWER_FD else word for word in command),
        ],
        stdin=asked,
        stdout=said_to,
        stderr=said_to,
        pass_fds=[number for number in numbers if number >= 0],
        env={**environment, _MARK: mark},
        start_new_session=True,
    )
    for file in (*given, log_to):
        if file:
            file.close()
    return Guarded(child, mark, control, answer_from, status_from)


def pipe(stack: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    """The ends of a pipe to read from and to write to."""
    read_fd, write_fd = os.pipe()
    ends = FileIO(read_fd, "rb"), FileIO(write_fd, "wb")
    for end in ends:
        stack.enter_context(end)
    return ends


def file_with(stack: contextlib.ExitStack, content: bytes) -> FileIO:
    """An unnamed file that holds `content`, to be read from its beginning; closed with `stack`.

    In memory where the kernel has such files. Not a pipe: writing more than a pipe holds would wait for a child that
    does not read, past any time.
    """
    try:
        try:
            file = FileIO(os.memfd_create("question"), "r+b")
        except (AttributeError, OSError):
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        stack.enter_context(file)
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]
        file.seek(0)
        return file
    except OSError as error:
        raise ServewattError(
            f"cannot write a temporary file: {error.strerror}",
            "free space where temporary files lie, or set TMPDIR to a folder that has some",
        ) from error


def _kill_marked(mark: str) -> None:
    """Kill every process that still has the environment variable of a guardian that is gone."""
    wanted = f"{_MARK}={mark}".encode()
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):  # ended meanwhile, or another user's
                if wanted in (path / "environ").read_bytes().split(b"\0"):
                    os.kill(int(path.name), signal.SIGKILL)
