"""Child processes: started in a session of their own, waited for inside the kernel, never outliving us."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO

from servewatt.errors import ServewattError

_PR_SET_PDEATHSIG = 1
_LOG_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Ended:
    """How a child ended and what it left."""

    returncode: int
    """Exit code, or the negative number of the signal that killed it."""
    timed_out: bool
    answer: bytes
    """What it wrote to its answer pipe."""
    log: str
    """The end of what it wrote to standard output and error."""
    waiter_cpu_s: float
    """CPU time this process used while it waited."""


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies, even by kill -9."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the call above
        os._exit(1)


def run_module(
    module: str,
    arguments: Sequence[str],
    question: bytes,
    *,
    timeout_s: float,
    environment: dict[str, str],
    python: str = sys.executable,
) -> Ended:
    """Run `python -m module ANSWER_FD PARENT_PID *arguments` with `question` on its standard input.

    The caller sleeps in poll(2) until the child answers or ends: a wait that polls by the clock would take CPU
    time inside the measured window. On KeyboardInterrupt, or any other exception, the child and everything it
    started are killed. ServewattError where temporary files cannot be written.
    """
    with contextlib.ExitStack() as stack:
        # A file, not a pipe: writing more than a pipe holds would wait for a child that does not read, past any time.
        asked = stack.enter_context(_temporary_file(question))
        log = stack.enter_context(_temporary_file())
        read_fd, write_fd = os.pipe()
        stack.callback(os.close, read_fd)
        command = [python, "-m", module, str(write_fd), str(os.getpid()), *arguments]
        try:
            child = subprocess.Popen(
                command,
                stdin=asked,
                stdout=log,
                stderr=log,
                pass_fds=(write_fd,),
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(write_fd)
        try:
            cpu_before_s = time.process_time()
            answer, timed_out = _await_end(child, read_fd, time.monotonic() + timeout_s)
            waiter_cpu_s = time.process_time() - cpu_before_s
        finally:
            kill_group(child.pid)
            child.wait()
        return Ended(child.returncode, timed_out, answer, _tail(log.fileno()), waiter_cpu_s)


def kill_group(pid: int) -> None:
    """Kill a child that leads its own process group, and all its descendants in it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _temporary_file(content: bytes = b"") -> FileIO:
    """An unnamed file that holds `content`, to be read from its beginning."""
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            left = memoryview(content)
            while left:
                left = left[file.write(left) :]
            file.seek(0)
            stack.pop_all()
            return file
    except OSError as error:
        raise ServewattError(
            f"cannot write a temporary file: {error.strerror}",
            "free space where temporary files lie, or set TMPDIR to a folder that has some",
        ) from error


def _await_end(child: subprocess.Popen[bytes], read_fd: int, deadline_s: float) -> tuple[bytes, bool]:
    """Collect the answer until the child has ended; (answer, whether the deadline passed first)."""
    chunks: list[bytes] = []
    poller = select.poll()
    pid_fd = os.pidfd_open(child.pid)
    poller.register(read_fd, select.POLLIN)
    poller.register(pid_fd, select.POLLIN)
    try:
        while True:
            left_ms = (deadline_s - time.monotonic()) * 1e3
            ready = dict(poller.poll(left_ms)) if left_ms > 0 else {}
            if not ready:
                return b"".join(chunks), True
            if read_fd in ready:
                chunk = os.read(read_fd, 1 << 20)
                chunks.append(chunk)
                if not chunk:
                    poller.unregister(read_fd)
            elif pid_fd in ready:
                return b"".join(chunks), False
    finally:
        os.close(pid_fd)


def _tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    return os.pread(fd, _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES)).decode(errors="replace")
