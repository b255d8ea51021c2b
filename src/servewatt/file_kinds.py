"""The two kinds of file that hold results, told apart by their first bytes, so that each reader can name the other."""

from __future__ import annotations

import gzip
import json
import shlex
import zlib
from pathlib import Path

RUN_FORMAT = "servewatt-run"
"""`format` in the header of a run's export."""
RESULTS_KEY = b"servewatt_study"
"""Key of the metadata of a study's results file."""
GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_MOST_HEADER_BYTES = 64 * 2**20


def recognise(path: Path) -> tuple[str, str] | None:
    """What a file of ours is, and the commands that read it; None for any other file, and for what cannot be read."""
    name = shlex.quote(str(path))
    try:
        if not path.is_file():  # to look into a pipe would take from it, or wait
            return None
        with path.open("rb") as file:
            magic = file.read(len(_PARQUET_MAGIC))
        if magic == _PARQUET_MAGIC:
            if RESULTS_KEY not in path.read_bytes():
                return None
            return (
                "a study's results file",
                f"`servewatt study tables {name}` shows it; `servewatt study collect --add {name}` takes it in",
            )
        if _is_run(path, compressed=magic.startswith(GZIP_MAGIC)):
            return (
                "a run's export",
                f"`servewatt report {name}` shows it; `servewatt study collect --out FILE.parquet {name}` takes it in",
            )
    except (OSError, EOFError, ValueError, RecursionError, zlib.error):
        pass
    return None


def _is_run(path: Path, *, compressed: bool) -> bool:
    with gzip.open(path) if compressed else path.open("rb") as file:
        header = json.loads(file.readline(_MOST_HEADER_BYTES))
    return isinstance(header, dict) and header.get("format") == RUN_FORMAT
