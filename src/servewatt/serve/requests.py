"""Validates requests: their form, and whether the loaded configuration can serve them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from servewatt.errors import InputError, nearest
from servewatt.records import Configuration, Model

# The first wrong entry is enough: a long body would give an error for each.
Ids = Annotated[list[int], FailFast()]
Prompt = Annotated[Ids, Field(min_length=1)]

_BYTES_AN_ID = 16
"""More than the digits of an id, a comma and a space take."""
_LEAST_LIMIT_BYTES = 64 * 2**10
_LONGEST_PLACE = 80


class RequestError(Exception):
    """A request that is answered before its body is read."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint


def body_limit(model: Model, configuration: Configuration) -> int:
    """Most bytes of a body: what a full batch of the longest prompts takes, and some more."""
    return _LEAST_LIMIT_BYTES + _BYTES_AN_ID * configuration.batch * model.context_length


def too_long(limit: int) -> RequestError:
    """For a body of more than `limit` bytes."""
    return RequestError(413, f"the body has more than {limit} bytes", "send fewer prompts at a time, or shorter ones")


def check_headers(headers: Mapping[str, str], limit: int) -> None:
    """Raise RequestError if the headers announce a body of more than `limit` bytes, or one that is not JSON."""
    if int(headers.get("content-length", "0")) > limit:  # the parser has seen that these are digits
        raise too_long(limit)
    kind, _, parameters = headers.get("content-type", "application/json").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "') or "utf-8"
    encoding = headers.get("content-encoding", "identity").lower()
    if kind.strip() != "application/json" or charset != "utf-8" or encoding != "identity":
        raise RequestError(415, "the body must be JSON in UTF-8", "send it with Content-Type: application/json")


class GenerateRequest(BaseModel):
    """The body of POST /generate."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompts: Annotated[list[Prompt], FailFast(), Field(min_length=1)]
    """Token ids of each prompt; rows may differ in length."""
    max_new_tokens: Annotated[int, Field(ge=1)]
    stop_ids: Ids = []
    """Ids that end a row; without any, every row gets `max_new_tokens`."""


def read_generate(body: bytes, model: Model, configuration: Configuration) -> GenerateRequest:
    """The request in `body`.

    InputError if it is not valid, or the loaded configuration cannot serve it: ids outside the vocabulary, more
    positions than the context has, more prompts than the batch.
    """
    try:
        request = GenerateRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:_LONGEST_PLACE] or "the body"
        hint = 'such as {"prompts": [[1, 2, 3]], "max_new_tokens": 8}'
        if first["type"] == "extra_forbidden":
            hint = nearest(place, GenerateRequest.model_fields)
        raise InputError(f"{place}: {first['msg']}", hint) from error
    _check(request, model, configuration)
    return request


def _check(request: GenerateRequest, model: Model, configuration: Configuration) -> None:
    if len(request.prompts) > configuration.batch:
        raise InputError(
            f"prompts: {len(request.prompts)} at a time, but the configuration loaded has batch {configuration.batch}",
            "send several requests",
        )
    for name, ids in (*((f"prompts.{i}", p) for i, p in enumerate(request.prompts)), ("stop_ids", request.stop_ids)):
        outside = next((token for token in ids if not 0 <= token < model.vocabulary_size), None)
        if outside is not None:
            raise InputError(
                f"{name}: token id {outside} is outside the model's vocabulary",
                f"ids are 0 to {model.vocabulary_size - 1}",
            )
    longest = max(map(len, request.prompts))
    if longest + request.max_new_tokens > model.context_length:
        raise InputError(
            f"a prompt of {longest} tokens and {request.max_new_tokens} new ones exceed the model's context"
            f" of {model.context_length}",
            "send a shorter prompt, or ask for fewer tokens",
        )
