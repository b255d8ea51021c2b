"""Long-running commands that answer many questions, under a guardian that kills whatever they started when they end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from servewatt.errors import ServewattError
from servewatt.processes.guarded import MOST_ANSWER_BYTES, Ended, cannot_start, pipe, start
from servewatt.processes.guardian import descendants

_READ_BYTES = 1 << 20
_PIPE_BYTES = select.PIPE_BUF
"""Bytes that a writable pipe takes at once."""


class Resident:
    """A command that reads questions, a line each, on standard input and writes an answer, a line each, to its pipe.

    Its arguments ANSWER_FD and PARENT_PID are replaced as by `run_guarded`. Use as a context manager, or call `kill`:
    both kill it and all that it started. ServewattError where it cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._stack = contextlib.ExitStack()
        self._waited_cpu_s = 0.0
        self._timed_out = False
        self._frozen = False
        self._ended: Ended | ServewattError | None = None
        self._buffer = bytearray()
        try:
            asked_from, self._questions = pipe(self._stack)
            self._guarded = start(self._stack, command, asked_from, environment)
            asked_from.close()
        except OSError as error:
            self._stack.close()
            raise cannot_start(error) from error

    def ask(self, question: bytes, *, timeout_s: float) -> bytes | None:
        """The answer to a question, both without the line's end; the caller sleeps in poll(2) until it is there.

        None where there will be no answer: the command has ended, is late or answers with too much. `end` tells which.
        """
        return self.answer(timeout_s=timeout_s) if self.tell(question, timeout_s=timeout_s) else None

    def tell(self, question: bytes, *, timeout_s: float) -> bool:
        """Send a question, so that others can be asked too before its `answer` is waited for; whether it was read."""
        before_s = time.process_time()
        try:
            return self._send(question, time.monotonic() + timeout_s)
        finally:
            self._waited_cpu_s += time.process_time() - before_s

    def answer(self, *, timeout_s: float) -> bytes | None:
        """The answer to a question that was sent; as of `ask`."""
        before_s = time.process_time()
        try:
            return self._receive(time.monotonic() + timeout_s)
        finally:
            self._waited_cpu_s += time.process_time() - before_s

    def pids(self) -> tuple[int, ...]:
        """The command's processes that are alive, parents first."""
        return tuple(descendants(self._guarded.child.pid)) if self._ended is None else ()

    def freeze(self) -> None:
        """Stop all of its processes, so that none uses a CPU until `thaw`."""
        if not self._frozen:
            self._signal(signal.SIGSTOP)
            self._frozen = True

    def thaw(self) -> None:
        """Let them go on."""
        if self._frozen:
            self._signal(signal.SIGCONT)
            self._frozen = False

    def end(self) -> Ended:
        """Kill what is left of it; how it ended. Its `answer` is what it wrote without a line's end.

        ServewattError if it never started.
        """
        if self._ended is None:
            self._ended = self._end()
        if isinstance(self._ended, ServewattError):
            raise self._ended
        return self._ended

    def kill(self) -> None:
        """Kill what is left of it."""
        with contextlib.suppress(ServewattError):  # it never started
            self.end()

    def _end(self) -> Ended | ServewattError:
        try:
            self._questions.close()
            self._guarded.end()
            self._guarded.answer = self._buffer
            return self._guarded.ended(timed_out=self._timed_out, waiter_cpu_s=self._waited_cpu_s)
        except OSError as error:
            return cannot_start(error)
        finally:
            self._stack.close()

    def close_politely(self, *, timeout_s: float) -> Ended:
        """Tell it that no question will come, and give it time to end by itself; then `end`."""
        self._questions.close()
        poller = select.poll()
        poller.register(self._guarded.status_from, select.POLLIN)
        poller.poll(timeout_s * 1e3)
        return self.end()

    def _send(self, question: bytes, deadline_s: float) -> bool:
        """Write a question, as fast as it is read: a long one does not fit into a pipe at once."""
        poller = select.poll()
        poller.register(self._questions, select.POLLOUT)
        poller.register(self._guarded.status_from, select.POLLIN)
        left = memoryview(question + b"\n")
        while left:
            ready = {fd for fd, _ in poller.poll(max(0.0, deadline_s - time.monotonic()) * 1e3)}
            if self._questions.fileno() not in ready:
                self._timed_out = not ready
                return False
            try:
                left = left[os.write(self._questions.fileno(), left[:_PIPE_BYTES]) :]
            except BrokenPipeError:
                return False
        return True

    def _receive(self, deadline_s: float) -> bytes | None:
        poller = select.poll()
        poller.register(self._guarded.answer_from, select.POLLIN)
        poller.register(self._guarded.status_from, select.POLLIN)
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found:
                self._buffer = bytearray(rest)
                return bytes(line)
            # Looked at once more after the deadline: this process may itself have been stopped meanwhile.
            ready = {fd for fd, _ in poller.poll(max(0.0, deadline_s - time.monotonic()) * 1e3)}
            if self._guarded.answer_from.fileno() in ready:
                chunk = os.read(self._guarded.answer_from.fileno(), _READ_BYTES)
                self._buffer += chunk
                if len(self._buffer) > MOST_ANSWER_BYTES:
                    self._guarded.answer_too_long = True
                    return None
                if not chunk:
                    # It closed its pipe: that it ended follows, or it never will.
                    poller.unregister(self._guarded.answer_from)
            elif ready:
                return None
            else:
                self._timed_out = True
                return None

    def _signal(self, number: int) -> None:
        for pid in self.pids():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                os.kill(pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
