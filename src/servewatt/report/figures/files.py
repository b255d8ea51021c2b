"""Figures as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from servewatt.errors import InputError
from servewatt.whole_files import write_whole


class Drawable(Protocol):
    """What can be written: a figure of this package, or one that is drawn otherwise."""

    @property
    def name(self) -> str:
        """Short and fit for a file name."""

    @property
    def svg(self) -> str:
        """A whole SVG document."""

    def png(self) -> bytes: ...
    def pdf(self) -> bytes: ...


FORMATS = ("svg", "png", "pdf")


def save(figure: Drawable, folder: Path, formats: Sequence[str] = ("svg", "png")) -> tuple[Path, ...]:
    """Write the figure into `folder` (made if need be) as `NAME.FORMAT`; returns the paths."""
    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise InputError(f"cannot write a figure as {unknown[0]}", f"known: {', '.join(FORMATS)}")
    paths = tuple(folder / f"{figure.name}.{kind}" for kind in formats)
    for path, kind in zip(paths, formats, strict=True):
        write_to(figure, path, kind)
    return paths


def write_to(figure: Drawable, path: Path, kind: str) -> None:
    """Write the figure as `kind`, one of FORMATS, to `path`, whole or not at all; its folder is made if need be."""
    content: str | bytes = figure.svg
    if kind != "svg":
        content = figure.png() if kind == "png" else figure.pdf()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", "name another place, or free some space") from error
