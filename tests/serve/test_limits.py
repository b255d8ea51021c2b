"""What a server does with clients that send too much, too slowly, nonsense, or leave; spoken to through sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from servewatt.engines.fake.engine import FakeSession
from servewatt.errors import LONGEST_REASON
from servewatt.records.served import Failure
from servewatt.serve.loaded import BusyError, Loaded
from servewatt.serve.server import HOST
from tests.harness.builders import fake, model

ROOT = Path(__file__).parents[2]
RECEIVE_S = 0.6
SCRIPT = """
import sys
from pathlib import Path
from servewatt.serve import loaded, protocol, server
from tests.harness.builders import fake, model
receive_s, connections, waiting, step_ms = map(float, sys.argv[1:])
protocol.LimitedProtocol.receive_s = receive_s
protocol.LimitedProtocol.most_connections = int(connections)
loaded.MOST_WAITING = int(waiting)
listening = server.listen()
print(listening.getsockname()[1], flush=True)
server.serve_on(listening, loaded.Loaded(model(Path("nowhere")), fake(step_ms=step_ms), None))
"""


@dataclass
class Served:
    """A server in a process of its own."""

    port: int
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=20)

    def lines(self, count: int) -> list[str]:
        """What it has written to standard error, once that is `count` lines."""
        deadline_s = time.monotonic() + 10
        while len(lines := self.log.read_text().splitlines()) < count and time.monotonic() < deadline_s:
            time.sleep(0.02)
        return lines


@contextlib.contextmanager
def serving(
    folder: Path, *, receive_s: float = RECEIVE_S, connections: int = 64, waiting: int = 32, step_ms: float = 0
) -> Iterator[Served]:
    log = folder / "log"
    knobs = [str(knob) for knob in (receive_s, connections, waiting, step_ms)]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *knobs], stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT
        ) as child,
    ):
        try:
            assert child.stdout is not None
            yield Served(int(child.stdout.readline()), log)
        finally:
            child.terminate()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("shared")) as server:
        yield server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as server:
        yield server


def answer(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of the next answer."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers = {}
        while line := stream.readline().strip().decode():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        return status, headers, json.loads(stream.read(int(headers["content-length"])))


def asked(path: str = "/generate", body: bytes = b"", *, method: str = "POST", headers: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def request(prompt: object = 1, tokens: object = 2) -> bytes:
    return asked(body=json.dumps({"prompts": [[prompt]], "max_new_tokens": tokens}).encode())


def ask(served: Served, data: bytes) -> tuple[int, dict[str, str], Any]:
    with served.connect() as connection:
        connection.sendall(data)
        return answer(connection)


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (asked("/nothing"), 404, "there is no /nothing"),
        (asked("/generate/"), 404, "there is no /generate/"),
        (asked(method="GET"), 405, "GET is not for /generate"),
        (asked("/facts", method="DELETE"), 405, "DELETE is not for /facts"),
        (asked(body=b"{}", headers="Content-Type: text/plain\r\n"), 415, "must be JSON in UTF-8"),
        (asked(body=b"{}", headers="Content-Type: application/json; charset=latin-1\r\n"), 415, "must be JSON"),
        (asked(body=b"{}", headers="Content-Encoding: gzip\r\n"), 415, "must be JSON"),
        (asked(body=b"["), 422, "Invalid JSON"),
        (asked(body=b"\xff\xfe"), 422, "Invalid JSON"),
        (asked(body=b'{"prompts": [[1]], "max_new_tokens": 2, "\xff": 1}'), 422, "Invalid JSON"),
        (asked(body=b"[" * 60_000), 422, "the body: "),
        (asked(body=b'{"prompts": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"), 422, "recursion"),
        (request(10**4000), 422, "prompts.0: token id 1000"),
        (asked(body=b'{"prompts": [[' + b"1" * 5000 + b"]]}"), 422, "number out of range"),
        (request(tokens=10**30), 422, "exceed"),
        (request("x" * 50_000), 422, "prompts.0.0: Input should be a valid integer"),
        (asked(body=b'{"' + b"k" * 50_000 + b'": 1}'), 422, "prompts: Field required"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000, 431, "not an HTTP request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n", 400, "not an HTTP request"),
        (b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400, "Content-Length"),
        (
            b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            400,
            "Content-Length",
        ),
        (b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n", 413, "more than"),
    ],
)
def test_a_bad_request_is_answered_as_a_failure_and_logged_in_one_line(
    shared: Served, data: bytes, status: int, words: str
) -> None:
    logged = len(shared.lines(0))
    found, headers, failure = ask(shared, data)
    assert (found, headers["content-type"]) == (status, "application/json"), failure
    assert words in failure["message"] and failure["hint"]
    assert len(failure["message"]) <= LONGEST_REASON
    (line,) = shared.lines(logged + 1)[logged:]
    assert line.startswith("servewatt serve: ") and f" {status} {failure['type']}: " in line
    assert len(line) < 350
    # It serves on.
    assert ask(shared, request())[2]["tokens"] == [[1], [2]]


def test_a_body_of_unknown_length_is_cut_off_where_it_is_too_long(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(4):  # the limit is 64 KiB and 16 bytes for each of 128 positions
            connection.sendall(chunk)
        assert answer(connection)[0] == 413
    assert len(served.lines(1)) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"P",
        b"POST /generate HTTP/1.1\r\nHost: x\r\n",
        b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{",
        b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
def test_a_request_that_does_not_come_is_given_up(served: Served, data: bytes) -> None:
    begin_s = time.monotonic()
    status, headers, failure = ask(served, data)
    assert (status, headers["connection"]) == (408, "close")
    assert "not complete after 0.6 s" in failure["message"]
    assert RECEIVE_S <= time.monotonic() - begin_s < RECEIVE_S + 3
    assert served.lines(1)[0].endswith("408 RequestError: the request was not complete after 0.6 s")


def test_a_byte_now_and_then_does_not_lengthen_the_time(served: Served) -> None:
    begin_s = time.monotonic()
    with served.connect() as connection, contextlib.suppress(ConnectionError):
        for byte in b"GET /health HTTP/1.1\r\nX: " + b"a" * 1000:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
    assert time.monotonic() - begin_s < RECEIVE_S + 5


def test_requests_in_pieces_and_long_pauses_between_requests_are_fine(served: Served) -> None:
    with served.connect() as connection:
        for _ in range(2):
            for piece in (request()[:20], request()[20:90], request()[90:]):
                connection.sendall(piece)
                time.sleep(0.05)
            assert answer(connection)[0] == 200
            time.sleep(2 * RECEIVE_S)
    assert served.lines(0) == []


def test_silent_connections_make_room_for_one_that_asks(tmp_path: Path) -> None:
    with serving(tmp_path, connections=3) as server, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(server.connect()) for _ in range(3)]
        assert ask(server, request())[0] == 200
        assert silent[0].recv(1) == b""  # the oldest was closed


def test_more_connections_than_are_served_get_503(tmp_path: Path) -> None:
    with serving(tmp_path, connections=2) as server, contextlib.ExitStack() as stack:
        for _ in range(2):
            busy = stack.enter_context(server.connect())
            busy.sendall(request())
            assert answer(busy)[0] == 200
        status, headers, failure = ask(server, b"")
        assert (status, headers["retry-after"]) == (503, "1")
        assert "2 connections are open already" in failure["message"]


def test_a_full_queue_is_503_with_the_time_to_try_again(tmp_path: Path) -> None:
    with serving(tmp_path, waiting=1, step_ms=20) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(3)]
        for client in clients:
            client.sendall(request(tokens=30))
            time.sleep(0.1)
        status, headers, failure = answer(clients[2])
        assert (status, failure["type"], headers["retry-after"]) == (503, "BusyError", "1")
        assert [answer(client)[0] for client in clients[:2]] == [200, 200]


@pytest.mark.parametrize("leaves", ["closes", "resets"])
def test_the_generation_of_a_client_that_leaves_ends(tmp_path: Path, leaves: str) -> None:
    with serving(tmp_path, step_ms=100) as server:
        with server.connect() as connection:
            connection.sendall(request(tokens=120))  # 12 s
            time.sleep(0.3)
            if leaves == "resets":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        begin_s = time.monotonic()
        assert ask(server, request(tokens=1))[0] == 200
        assert time.monotonic() - begin_s < 4
        (line,) = server.lines(1)
        assert line == "servewatt serve: POST /generate 499 ClientLeft: the client has left, and its generation ends"


def test_a_client_that_leaves_while_it_sends_is_one_line(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
        time.sleep(0.2)
    (line,) = served.lines(1)
    assert " 499 ClientLeft: " in line


def test_what_an_engine_raises_is_traced_once_and_told_each_time(tmp_path: Path, capfd: Any) -> None:
    from servewatt.serve import failures

    def fail() -> None:
        raise RuntimeError("broken\nin two lines")

    failures._told.clear()
    for _ in range(3):
        try:
            fail()
        except RuntimeError as error:
            failures.log_traceback(error)
            failures.log("POST /generate", 500, Failure.of(error))
    said = capfd.readouterr().err
    assert said.count("Traceback") == 1
    assert said.count("servewatt serve: POST /generate 500 RuntimeError: broken in two lines\n") == 3


def test_no_more_wait_than_may() -> None:
    """Whoever calls `Loaded` gets the same as clients."""
    import asyncio

    class Slow(FakeSession):
        released = threading.Event()

        def synchronize(self) -> None:
            self.released.wait(20)

    loaded = Loaded(model(Path("nowhere")), replace(fake(step_ms=0)), None)  # type: ignore[arg-type]
    loaded._session = Slow(fake(), model(Path("nowhere")), 0.0, "")

    async def main() -> list[object]:
        work = [asyncio.ensure_future(loaded.generate([[1]], 1, frozenset())) for _ in range(40)]
        await asyncio.sleep(0.1)
        Slow.released.set()
        return await asyncio.gather(*work, return_exceptions=True)

    found = asyncio.run(main())
    assert sum(isinstance(one, BusyError) for one in found) == 40 - 33
