"""Files that the stages write: whole or not at all, and never over another by accident."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from servewatt import wire
from servewatt.errors import InputError

REPLACE_HINT = "name another file with --out, or replace it with --force"


def write_text(path: Path, text: str) -> None:
    """Write a file under another name and rename it; InputError if its folder cannot be written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise InputError(f"cannot write {path}: {error.strerror}", "name another file with --out") from error


def pretty(record: object) -> str:
    """A record as JSON for people and version control."""
    return json.dumps(json.loads(wire.dump(record)), indent=1, ensure_ascii=False) + "\n"
