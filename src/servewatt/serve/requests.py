"""What a client may ask for, and whether the loaded configuration can do it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from servewatt.errors import InputError, nearest
from servewatt.records import Configuration, Model

Prompt = Annotated[list[int], Field(min_length=1)]


class GenerateRequest(BaseModel):
    """The body of POST /generate."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompts: Annotated[list[Prompt], Field(min_length=1)]
    """Token ids of each prompt; rows may differ in length."""
    max_new_tokens: Annotated[int, Field(ge=1)]
    stop_ids: list[int] = []
    """Ids that end a row; without any, every row gets `max_new_tokens`."""


def read_generate(body: bytes, model: Model, configuration: Configuration) -> GenerateRequest:
    """The request in `body`.

    Raises InputError if it is not one, or asks for what the loaded configuration cannot do: ids outside the
    vocabulary, more positions than the context has, more prompts than the batch.
    """
    try:
        request = GenerateRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the body"
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
