"""The server's endpoints over one loaded configuration.

    POST /generate  {prompts: [[ids]], max_new_tokens, stop_ids}  ->  an Answer, whole, when generation has ended
    GET  /facts     what really runs
    GET  /memory    {peak_device_bytes}
    GET  /health    answers even while a generation runs

A failed request is answered with a Failure, and reported in one line on standard error:

    404, 405       no such path, or not by this method
    413, 415       the body is too long, or no JSON
    422            what the request asks cannot be done
    503            too many requests wait; Retry-After says when to try again
    500            what the engine raised
    408, 431, 400  before a request is complete; see `protocol`

A client that leaves ends its generation at the next step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servewatt import wire
from servewatt.errors import InputError
from servewatt.records.served import Failure, Memory
from servewatt.serve.failures import log, log_traceback
from servewatt.serve.loaded import AbandonedError, BusyError, Loaded
from servewatt.serve.requests import RequestError, body_limit, check_headers, read_generate, too_long

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    Endpoint = Callable[[Request], Awaitable[object]]

CLOSE_TIMEOUT_S = 5.0
_ENDPOINTS = "POST /generate, GET /facts, GET /memory, GET /health"


@dataclass(frozen=True)
class Health:
    """The body of GET /health."""

    model: str
    configuration: str
    status: str = "ok"


def make_app(loaded: Loaded) -> Starlette:
    """The application that serves `loaded` and closes it on shutdown."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    limit = body_limit(loaded.model, loaded.configuration)

    async def generate(request: Request) -> object:
        check_headers(request.headers, limit)
        asked = read_generate(await _body(request, limit), loaded.model, loaded.configuration)
        work = asyncio.ensure_future(loaded.generate(asked.prompts, asked.max_new_tokens, frozenset(asked.stop_ids)))
        leaving = asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise AbandonedError("the client has left, and its generation ends")
            return work.result()
        finally:
            leaving.cancel()
            work.cancel()

    async def facts(_request: Request) -> object:
        return await loaded.facts()

    async def memory(_request: Request) -> object:
        return Memory(await loaded.peak_device_bytes())

    async def health(_request: Request) -> object:
        return Health(loaded.model.name, loaded.configuration.key)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        with suppress(TimeoutError):  # for example a generation that never ends
            await asyncio.wait_for(loaded.close(), CLOSE_TIMEOUT_S)

    app = Starlette(
        routes=[
            Route("/generate", _answering(generate), methods=["POST"]),
            Route("/facts", _answering(facts)),
            Route("/memory", _answering(memory)),
            Route("/health", _answering(health)),
        ],
        exception_handlers={HTTPException: _failed},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _answering(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint, with its record as JSON, or the Failure that it raised."""

    async def answer(request: Request) -> Response:
        try:
            return _json(await endpoint(request))
        except Exception as error:  # noqa: BLE001  (whatever an engine raises is the answer)
            return await _failed(request, error)

    return answer


async def _body(request: Request, limit: int) -> bytes:
    """The request's body, as long as it is no longer than `limit` bytes; RequestError otherwise."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise too_long(limit)
    return bytes(content)


async def _failed(request: Request, error: Exception) -> Response:
    """The answer to a request that `error` has ended, told on standard error too."""
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    failure, headers = Failure.of(error), {}
    if isinstance(error, HTTPException):
        status, headers = error.status_code, dict(error.headers or {})
        what = "there is no" if status == 404 else f"{request.method} is not for"
        failure = Failure("RequestError", f"{what} {request.url.path[:100]}", f"there are {_ENDPOINTS}")
    elif isinstance(error, RequestError):
        status, failure = error.status, Failure("RequestError", error.message, error.hint)
    elif isinstance(error, InputError):
        status = 422
    elif isinstance(error, BusyError):
        status, headers = 503, {"Retry-After": str(error.retry_after_s)}
    elif isinstance(error, ClientDisconnect | AbandonedError):
        # Nobody reads it; 499 is what web servers write into their logs.
        status, failure = 499, Failure("ClientLeft", str(error) or "the client left while it sent its request")
    else:
        status = 500
        log_traceback(error)
    log(f"{request.method} {request.url.path}", status, failure)
    return _json(failure, status, headers)


def _json(record: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    from starlette.responses import Response

    return Response(wire.dump(record), status, headers, media_type="application/json")
