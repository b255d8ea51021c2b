"""A server process: `python -m servewatt.serve.server ANNOUNCE_FD PARENT_PID`.

Reads two lines of JSON on standard input, a Model and a Configuration, and loads them. Then one line goes to the file
descriptor ANNOUNCE_FD: an Announcement with the port of 127.0.0.1 that already accepts connections, or with the
failure that keeps it from serving. It ends on SIGTERM, and with its parent.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

from servewatt import serve, wire
from servewatt.harness.child import die_with_parent
from servewatt.models.cache import ArtefactCache
from servewatt.records import Configuration, Model
from servewatt.records.served import Announcement, Failure
from servewatt.serve.app import make_app
from servewatt.serve.loaded import Loaded

HOST = "127.0.0.1"
KEEP_ALIVE_S = 7 * 24 * 3600
"""A connection may rest this long between requests; one reopened would add to a request's latency."""
SHUTDOWN_S = 5


def listen() -> socket.socket:
    """A socket that accepts connections on a free port of this machine only."""
    listening = socket.create_server((HOST, 0))
    # Connections inherit it; asyncio would set it only on sockets that it has opened itself. Without it the second
    # part of an answer waits 40 ms for the client's delayed acknowledgement of the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def serve_on(listening: socket.socket, loaded: Loaded) -> None:
    """Serve requests to a listening socket until SIGTERM or SIGINT.

    Event loop and HTTP parser are named, so that a trial does not depend on what else is installed.
    """
    import uvicorn

    from servewatt.serve.protocol import MOST_HEADER_BYTES, LimitedProtocol

    config = uvicorn.Config(
        make_app(loaded),
        loop="asyncio",
        http=LimitedProtocol,
        ws="none",
        lifespan="on",
        log_level="error",
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _main(arguments: Sequence[str]) -> None:
    announce_fd, parent_pid = map(int, arguments)
    os.set_inheritable(announce_fd, False)
    die_with_parent(parent_pid)
    with os.fdopen(announce_fd, "w") as announce:
        try:
            serve.check()
            model, configuration = sys.stdin.buffer.read().splitlines()
            loaded = Loaded(wire.load(Model, model), wire.load(Configuration, configuration), ArtefactCache())
            listening = listen()
        except Exception as error:  # noqa: BLE001  (whatever it is, whoever started us must learn it)
            announce.write(wire.dump(Announcement(failure=Failure.of(error))) + "\n")
            return
        announce.write(wire.dump(Announcement(listening.getsockname()[1])) + "\n")
    serve_on(listening, loaded)


if __name__ == "__main__":
    _main(sys.argv[1:])
