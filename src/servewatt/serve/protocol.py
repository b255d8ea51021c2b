"""uvicorn's HTTP/1.1 connection, with limits on connections and on the time to send a request.

uvicorn limits neither: its keep-alive timeout begins anew with every byte. What it refuses itself, it answers as text
and logs in more than one line; here it is a Failure like any other.
"""

from __future__ import annotations

import asyncio
import sys
import time

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from servewatt import wire
from servewatt.records.served import Failure
from servewatt.serve.failures import log

RECEIVE_S = 30.0
"""Most seconds from the first byte of a request to its last."""
MOST_CONNECTIONS = 64
MOST_HEADER_BYTES = 64 * 2**10
RETRY_AFTER_S = 1


class LimitedProtocol(H11Protocol):
    """One connection. A request that comes in one piece costs it no timer."""

    receive_s = RECEIVE_S
    most_connections = MOST_CONNECTIONS
    _deadline: asyncio.TimerHandle | None = None
    _silent_since_s: float = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept it. If there are too many connections, close the one that has been silent longest, else answer 503."""
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self._silent_since_s = time.monotonic()
        if len(self.connections) > self.most_connections:
            silent = [
                other
                for other in self.connections
                if isinstance(other, LimitedProtocol) and other is not self and other.scope is None
            ]
            if silent:
                min(silent, key=lambda other: other._silent_since_s).transport.abort()
            else:
                self._refuse(503, f"{self.most_connections} connections are open already", "close some, or wait")

    def data_received(self, data: bytes) -> None:
        """Hand it to the parser; a request that is then incomplete must be complete by the deadline."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_receiving():
            if self._deadline is None:
                self._deadline = self.loop.call_later(self.receive_s, self._give_up)
        elif self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn when it receives something that is not an HTTP request."""
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        hint = f"at most {MOST_HEADER_BYTES} bytes of headers" if status == 431 else "send HTTP/1.1"
        self._refuse(status, f"not an HTTP request: {error or msg}", hint)

    def _is_receiving(self) -> bool:
        if self.transport.is_closing():
            return False
        waits_for_body = self.conn.their_state is h11.SEND_BODY
        return waits_for_body or (self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0]))

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self._refuse(408, f"the request was not complete after {self.receive_s:g} s", "send it at once")

    def _refuse(self, status: int, message: str, hint: str) -> None:
        """Answer with a Failure, if an answer can still be begun, and close."""
        failure = Failure("RequestError", message, hint)
        client = f"from {self.client[0]}:{self.client[1]}" if self.client else "from a client"
        log(client, status, failure)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = wire.dump(failure).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                *([(b"retry-after", str(RETRY_AFTER_S).encode())] if status == 503 else []),
            ]
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                if sent := self.conn.send(event):
                    self.transport.write(sent)
        if self.cycle is not None:
            # The application may be waiting for the rest of it.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
