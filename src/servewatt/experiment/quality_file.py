"""The file that `servewatt quality --out` writes."""

from __future__ import annotations

from pathlib import Path

from servewatt import wire
from servewatt.errors import InputError
from servewatt.file_kinds import recognise
from servewatt.input_files import read_bytes, shown, unpack
from servewatt.quality import Quality
from servewatt.whole_files import write_whole


def write(quality: Quality, file: Path) -> None:
    """Write the record as JSON; InputError if the file cannot be written."""
    try:
        write_whole(file, wire.dump(quality) + "\n")
    except OSError as error:
        raise InputError(
            f"cannot write {shown(file)}: {error.strerror or error}", "give the path of a file in a folder"
        ) from error


def read(file: Path) -> Quality:
    """A record that `write` wrote; InputError if it is none."""
    hint = "servewatt quality --out FILE writes one"
    content = unpack(read_bytes(file, hint), file)
    if (other := recognise(file)) is not None:
        raise InputError(f"{shown(file)} is {other[0]}, not what servewatt quality writes", hint)
    try:
        return wire.load(Quality, content)
    except InputError as error:
        raise InputError(f"{shown(file)}: {error.message}", hint) from error
