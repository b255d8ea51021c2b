"""A configuration served over HTTP by a process of its own, as a Session: what a trial `via http` measures.

The server (`servewatt.serve.server`, known here by its name only) holds the engine; this side is a client with one
persistent connection. Both read the same monotonic clock, so the server's time marks fit between the client's.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

from servewatt import wire
from servewatt.engines import Step
from servewatt.errors import RefusedError
from servewatt.harness.child import raised
from servewatt.harness.failure import EngineError, ProcessEndedError, describe_end, oom_kills, try_alone
from servewatt.meters.cpu_times import peak_rss_bytes
from servewatt.processes.command import child_environment, python_module_command
from servewatt.records import Configuration, Facts, Model
from servewatt.records.served import Announcement, Answer, Failure, Memory

SERVER = "servewatt.serve.server"
HOST = "127.0.0.1"
END_TIMEOUT_S = 10.0
"""How long a server may take to end once it has been told to, or has closed the connection."""


class Server:
    """A server process with a loaded configuration."""

    def __init__(self, model: Model, configuration: Configuration) -> None:
        """Start it and wait until it has loaded.

        Raises the error that loading raised there if it is a ServewattError, EngineError for any other, and
        ProcessEndedError if the server died.
        """
        self._again = try_alone(model, configuration)
        self._kills_before = oom_kills()
        read_fd, write_fd = os.pipe()
        with os.fdopen(read_fd, "rb") as announced:
            try:
                # In the worker's process group, so that whoever kills that one kills this one too.
                self._child = subprocess.Popen(
                    python_module_command(SERVER, str(write_fd), str(os.getpid())),
                    env=child_environment(os.environ),
                    stdin=subprocess.PIPE,
                    pass_fds=(write_fd,),
                )
            finally:
                os.close(write_fd)
            try:
                self._hand_over(f"{wire.dump(model)}\n{wire.dump(configuration)}\n".encode())
                _await(announced.fileno(), self._child)
                # Nothing is left to wait for if it has ended: a process that it started may hold the pipe open.
                os.set_blocking(announced.fileno(), self._child.poll() is None)
                self.port = self._announced_port(announced.readline())
            except BaseException:
                self._child.kill()
                self._child.wait()
                raise

    @property
    def pid(self) -> int:
        return self._child.pid

    def ended(self) -> Exception:
        """How the server ended that closed the connection."""
        try:
            returncode = self._child.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return EngineError("the server closed the connection without an answer")
        oom_killed = oom_kills() > self._kills_before
        return ProcessEndedError(describe_end("the server", returncode, self._again, oom_killed=oom_killed))

    def stop(self) -> None:
        """End it."""
        self._child.terminate()
        try:
            self._child.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def await_answer(self, connection: socket.socket) -> None:
        """Sleep until the connection has something to read, or the server has ended: then raise how.

        A process that the server started may hold its connections open.
        """
        if not _await(connection.fileno(), self._child):
            raise self.ended()

    def _hand_over(self, order: bytes) -> None:
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._child.stdin as pipe:
            pipe.write(order)

    def _announced_port(self, line: bytes) -> int:
        if not line:
            raise self.ended()
        announcement = wire.load(Announcement, line)
        if announcement.port is None:
            raise raised(announcement.failure or Failure("", "the server does not say why it cannot serve"))
        return announcement.port


class HttpSession:
    """A `servewatt.engines.Session` whose engine runs in a server; every question to it is one HTTP request."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = http.client.HTTPConnection(HOST, server.port)
        self._connection.connect()  # sets TCP_NODELAY
        self.peak_rss_bytes: int | None = None
        """The server's largest resident set, known once the session is closed."""
        self.engine_s: list[float] = []
        """Seconds that the engine worked on each generation so far, by the server."""

    @property
    def pid(self) -> int:
        """The server process."""
        return self._server.pid

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int] = frozenset()
    ) -> Iterator[Step]:
        """One request; its Steps come when the whole answer has.

        Their times are the server's, but for the last one's, which is when the client had read the answer. So the
        first interval of a request holds its way to the server, the last one holds the way back, and together they
        are the latency that the client saw.
        """
        asked = {"prompts": [list(p) for p in prompts], "max_new_tokens": max_new_tokens, "stop_ids": sorted(stop_ids)}
        answer = wire.load(Answer, self._request("POST", "/generate", json.dumps(asked).encode()))
        received_s = time.monotonic()
        self.engine_s.append(answer.engine_s)
        for tokens, time_s in zip(answer.tokens, (*answer.times_s[:-1], received_s), strict=True):
            yield Step(tokens, time_s)

    def log_probabilities(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        raise RefusedError("the server gives tokens, not their probabilities", "measure quality with via process")

    def synchronize(self) -> None:
        """Nothing is pending: the server answers after the device has finished."""

    def facts(self) -> Facts:
        """The engine's facts, as the server gives them."""
        return wire.load(Facts, self._request("GET", "/facts"))

    def peak_device_bytes(self) -> int | None:
        return wire.load(Memory, self._request("GET", "/memory")).peak_device_bytes

    def close(self) -> None:
        """End the server."""
        self.peak_rss_bytes = peak_rss_bytes(self.pid)
        self._connection.close()
        self._server.stop()

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The body of a successful answer; raises what the engine raised, or how the server ended."""
        try:
            self._connection.request(method, path, body)
            if self._connection.sock is not None:
                self._server.await_answer(self._connection.sock)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._server.ended() from error
        if response.status == http.client.OK:
            return content
        raise raised(wire.load(Failure, content))


def _await(fd: int, process: subprocess.Popen[bytes]) -> bool:
    """Sleep until `fd` can be read or the process has ended; whether it can be read."""
    process_fd = os.pidfd_open(process.pid)
    try:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        poller.register(process_fd, select.POLLIN)
        return fd in {ready for ready, _ in poller.poll()}
    finally:
        os.close(process_fd)
