"""Files that the stages write: whole or not at all, and never over another by accident."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from servewatt import wire
from servewatt.errors import InputError
from servewatt.whole_files import write_whole

if TYPE_CHECKING:
    from servewatt.report.figures import Figure


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all, and the folders above it; InputError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", "name another file with --out") from error


def pretty(record: object) -> str:
    """A record as JSON for people and version control."""
    return json.dumps(json.loads(wire.document(record)), indent=1, ensure_ascii=False) + "\n"


def write_figure(figure: Figure, path: Path) -> None:
    """One figure into a file whose ending says the format."""
    from servewatt.report.figures import FORMATS, write_to

    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise InputError(f"cannot tell a format from the name {path.name}", f"end it in .{', .'.join(FORMATS)}")
    write_to(figure, path, kind)
    click.echo(f"wrote {path}", err=True)
