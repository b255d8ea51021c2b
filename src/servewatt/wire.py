"""Records as JSON: the form in which they travel between processes and lie in the store."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from servewatt.errors import InputError

T = TypeVar("T")

_EXACT = ConfigDict(allow_inf_nan=False, ser_json_inf_nan="constants")
"""Records that are read back: numbers must be finite. Written as constants, so that `dump` sees one that is not."""
_READABLE = ConfigDict(ser_json_inf_nan="null")
"""For other programs: JSON has no NaN."""

_ADAPTERS: dict[tuple[Any, bool], TypeAdapter[Any]] = {}


def _adapter(kind: Any, *, exact: bool = True) -> TypeAdapter[Any]:
    if (kind, exact) not in _ADAPTERS:
        # The configuration of an optional type holds for all dataclasses within it.
        _ADAPTERS[kind, exact] = TypeAdapter(kind | None, config=_EXACT if exact else _READABLE)
    return _ADAPTERS[kind, exact]


def dump(record: object) -> str:
    """The record as one line of JSON that `load` reads back.

    Raises InputError, with the place, for a number that is not finite and for text with half a surrogate pair.
    """
    text = _json(record, exact=True)
    # The words may stand in a text, too.
    if "NaN" in text or "Infinity" in text:
        for place, value in _leaves(_adapter(type(record)).dump_python(record)):
            if isinstance(value, float) and not math.isfinite(value):
                raise _unwritable(record, place, f"is {value}, which is no number that can be kept")
    return text


def document(record: object) -> str:
    """The record as one line of JSON for other programs: numbers that are not finite are null.

    Raises InputError, with the place, for text with half a surrogate pair.
    """
    return _json(record, exact=False)


def _json(record: object, *, exact: bool) -> str:
    adapter = _adapter(type(record), exact=exact)
    try:
        return adapter.dump_json(record).decode()
    except PydanticSerializationError as error:
        for place, value in _leaves(adapter.dump_python(record)):
            if isinstance(value, str) and not _is_unicode(value):
                told = value.encode("ascii", "backslashreplace").decode()
                raise _unwritable(record, place, f"is no Unicode text: {told[:100]}") from error
        raise


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """(place, value) of every text and number within `value`."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}")
    elif isinstance(value, tuple | list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{place}.{number}")
    else:
        yield place.removeprefix("."), value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unwritable(record: object, place: str, what: str) -> InputError:
    return InputError(f"{type(record).__name__} record: {place} {what}", "it cannot be kept as JSON")


def load(kind: type[T], text: str | bytes) -> T:
    """The record of type `kind` that `text` holds.

    Raises InputError, with the place, if the text is not JSON of that record, or has a number that is not finite.
    """
    try:
        content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        record: T | None = _adapter(kind).validate_json(content)
    except ValidationError as error:
        raise _not_a(kind, error) from error
    if record is None:
        raise InputError(f"not a {kind.__name__} record: the document: is null", _HINT)
    return record


def build(kind: type[T], values: Mapping[str, Any]) -> T:
    """The record of type `kind` with these fields, checked as `load` checks them; raises what it raises."""
    try:
        record: T = _adapter(kind).validate_python(values)
    except ValidationError as error:
        raise _not_a(kind, error) from error
    return record


_HINT = "was it written by another version of servewatt?"


def _not_a(kind: type[Any], error: ValidationError) -> InputError:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"])) or "the document"
    return InputError(f"not a {kind.__name__} record: {place}: {first['msg']}", _HINT)
