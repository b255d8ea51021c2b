"""Records as JSON: the form in which they travel between processes and lie in the store."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from servewatt.errors import InputError

T = TypeVar("T")

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def dump(record: object) -> str:
    """The record as one line of JSON."""
    return _adapter(type(record)).dump_json(record).decode()


def load(kind: type[T], text: str | bytes) -> T:
    """The record of type `kind` that `text` holds.

    Raises InputError if the text is not JSON of that record.
    """
    try:
        record: T = _adapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise InputError(
            f"not a {kind.__name__} record: {place}: {first['msg']}",
            "was it written by another version of servewatt?",
        ) from error
    return record
