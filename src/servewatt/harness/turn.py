"""One servewatt at a time measures on a machine: two would disturb each other."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

NAME = b"\0servewatt-measuring"
"""An abstract Unix socket, which the kernel gives up the moment its process ends, and which needs no file."""


@contextmanager
def machine_turn(waiting: Callable[[int], None], name: bytes = NAME) -> Iterator[None]:
    """Hold the machine, after waiting for the present holder to end; `waiting` is called once with its process id (0:
    unknown).

    Waiting costs no CPU time. Processes of another network namespace (most containers) are not known of. Where the
    system has no abstract sockets nobody waits.
    """
    told = False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as own:
        while not _bind(own, name):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                try:
                    other.connect(name)
                except OSError:  # it has just ended, or is not listening yet
                    time.sleep(0.05)
                    continue
                if not told:
                    told = True
                    waiting(_process_of(other))
                with suppress(ConnectionError):
                    other.recv(1)
        yield


def _bind(own: socket.socket, name: bytes) -> bool:
    """Whether the name is bound now, or cannot be bound by anybody."""
    try:
        own.bind(name)
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    own.listen(64)
    return True


def _process_of(connection: socket.socket) -> int:
    content = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", content)[0]
    return pid if pid != os.getpid() else 0
