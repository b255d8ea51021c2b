"""The rows of a file of prompts or problems: JSON Lines, a JSON array or Parquet, told from the content."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servewatt.errors import InputError, UnavailableError
from servewatt.input_files import decode, read_bytes, shown, unpack

_PARQUET_MAGIC = b"PAR1"
_BLANK = re.compile(r"[\s\x1e]*")
"""Between JSON values; RFC 7464 puts the record separator there."""
_JSON_NAME = re.compile(r"\.(json|jsonl|ndjson)(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """A value and the place it stands at."""

    where: str
    """Such as `p.jsonl, line 3`."""
    value: Any


def read_rows(path: Path, hint: str) -> list[Row] | str:
    """The rows of a file, or its text if it is neither JSON nor Parquet. Raises InputError if it cannot be read, if it
    is named as JSON and is not, and if it begins as JSON and does not continue so; UnavailableError for Parquet without
    pyarrow.
    """
    content = unpack(read_bytes(path, hint), path)
    return rows_in(content, path)


def rows_in(content: bytes, path: Path) -> list[Row] | str:
    """The same of the unpacked content of `path`."""
    if content.startswith(_PARQUET_MAGIC) or path.suffix.lower() == ".parquet":
        return _parquet_rows(content, shown(path.name))
    text = decode(content, path)
    rows = _json_rows(text, shown(path.name), insist=_JSON_NAME.search(path.name) is not None)
    return text if rows is None else rows


def _json_rows(text: str, name: str, *, insist: bool) -> list[Row] | None:
    """The JSON values in `text` one after the other, or the elements if it is one array.

    None for other text, unless `insist`.
    """
    if not insist and text.lstrip()[:1] not in ("[", "{"):
        return None
    decoder = json.JSONDecoder()
    rows: list[Row] = []
    place, line = _blank_end(text, 0), 1
    line += text.count("\n", 0, place)
    while place < len(text):
        where = f"{name}, line {line}"
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            if not insist and not (rows and isinstance(rows[0].value, dict) and rows[0].value):
                return None
            reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
            raise InputError(
                f"{where}: not JSON: {reason}",
                "write every prompt as a JSON object with a prompt, or every one as plain text on a line of its own",
            ) from error
        rows.append(Row(where, value))
        following = _blank_end(text, end)
        line += text.count("\n", place, following)
        place = following
    if len(rows) == 1 and isinstance(rows[0].value, list):
        return [Row(f"{name}, row {number}", value) for number, value in enumerate(rows[0].value, 1)]
    return rows


def _blank_end(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found else place


def _parquet_rows(content: bytes, name: str) -> list[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UnavailableError(
            f"{name} is a Parquet file: {error}", "pip install 'servewatt[study]', or give a .jsonl file"
        ) from error
    try:
        values: list[Any] = pyarrow.parquet.read_table(pyarrow.BufferReader(content)).to_pylist()
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"cannot read {name}: {reason}", "get the file again, or give a .jsonl file") from error
    return [Row(f"{name}, row {number}", value) for number, value in enumerate(values, 1)]
