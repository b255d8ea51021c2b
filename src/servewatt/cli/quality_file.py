"""The file that `servewatt quality --out` writes."""

from __future__ import annotations

from pathlib import Path

from servewatt import wire
from servewatt.errors import InputError
from servewatt.quality import Quality
from servewatt.whole_files import write_whole


def write(quality: Quality, file: Path) -> None:
    """Write the record as JSON; InputError if the file cannot be written."""
    try:
        write_whole(file, wire.dump(quality) + "\n")
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}", "give the path of a file in a folder") from error


def read(file: Path) -> Quality:
    """A record that `write` wrote; InputError if it is none."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}", "servewatt quality --out FILE writes one") from error
    return wire.load(Quality, content)
