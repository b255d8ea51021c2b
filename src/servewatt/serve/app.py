"""The server's endpoints over one loaded configuration.

    POST /generate  {prompts: [[ids]], max_new_tokens, stop_ids}  ->  an Answer, whole, when generation has ended
    GET  /facts     what really runs
    GET  /memory    {peak_device_bytes}
    GET  /health    answers even while a generation runs

What goes wrong is answered as a Failure: 422 for what the request asks, 500 for what the engine raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servewatt import wire
from servewatt.errors import InputError, ServewattError, brief
from servewatt.serve.loaded import Loaded
from servewatt.serve.requests import read_generate

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

CLOSE_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Failure:
    """Why there is no answer."""

    type: str
    """Name of the exception's class."""
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """What `error` says."""
        if isinstance(error, ServewattError):
            return cls(type(error).__name__, brief(error.message), brief(error.hint))
        return cls(type(error).__name__, brief(str(error)))


@dataclass(frozen=True)
class Memory:
    """The body of GET /memory."""

    peak_device_bytes: int | None


@dataclass(frozen=True)
class Health:
    """The body of GET /health."""

    model: str
    configuration: str
    status: str = "ok"


def make_app(loaded: Loaded) -> Starlette:
    """The application that serves `loaded` and closes it on shutdown."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    async def generate(request: Request) -> Response:
        asked = read_generate(await request.body(), loaded.model, loaded.configuration)
        return _json(await loaded.generate(asked.prompts, asked.max_new_tokens, frozenset(asked.stop_ids)))

    async def facts(_request: Request) -> Response:
        return _json(await loaded.facts())

    async def memory(_request: Request) -> Response:
        return _json(Memory(await loaded.peak_device_bytes()))

    async def health(_request: Request) -> Response:
        return _json(Health(loaded.model.name, loaded.configuration.key))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        with suppress(TimeoutError):  # a generation that never ends
            await asyncio.wait_for(loaded.close(), CLOSE_TIMEOUT_S)

    return Starlette(
        routes=[
            Route("/generate", generate, methods=["POST"]),
            Route("/facts", facts),
            Route("/memory", memory),
            Route("/health", health),
        ],
        exception_handlers={InputError: _refused, Exception: _failed},
        lifespan=lifespan,
    )


async def _refused(_request: Request, error: Exception) -> Response:
    return _json(Failure.of(error), 422)


async def _failed(_request: Request, error: Exception) -> Response:
    return _json(Failure.of(error), 500)


def _json(record: object, status: int = 200) -> Response:
    from starlette.responses import Response

    return Response(wire.dump(record), status, media_type="application/json")
