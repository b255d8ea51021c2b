"""Held-out code for perplexity: stretches of Python's own standard library, or of the files of a folder."""

from __future__ import annotations

import hashlib
import os
import platform
import random
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from servewatt.errors import InputError
from servewatt.input_files import shown

_HELD_OUT_BUCKETS = range(4, 10)
"""Of 100: the files that the bundled model's training left out (tools/bundled_corpus.py), known by their path alone."""
_NOT_LIBRARY = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "pydoc_data", "__pycache__"})
_CHARACTERS_PER_TOKEN = 16
"""More than any tokenizer makes of code, so that a piece of this size yields the tokens asked for."""
_LARGEST_FILE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Text:
    """A stretch of a file, cut to a number of tokens."""

    path: str
    """Below the source's folder; bytes of the name that are not UTF-8 are written as `\\xe9`."""
    ids: tuple[int, ...]
    text: str
    """What the ids stand for."""
    scored_bytes: int | None
    """UTF-8 bytes of the tokens after the first id; None if the spans do not give them."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Texts:
    """Documents of equal length from one source."""

    source: str
    documents: tuple[Text, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over paths and texts."""
        whole = hashlib.sha256()
        for document in self.documents:
            whole.update(f"{document.path}\0{document.text}\0".encode())
        return whole.hexdigest()


def in_held_out_part(path: str) -> bool:
    """Whether the bundled model's training left out this file of the standard library (a POSIX path below it)."""
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8]) % 100 in _HELD_OUT_BUCKETS


def read_texts(
    folder: Path | None,
    encode: Callable[[str], Sequence[int]],
    spans: Callable[[str], Sequence[tuple[int, int]]],
    *,
    documents: int,
    tokens: int,
    seed: int = 0,
) -> Texts:
    """At most `documents` stretches of `tokens` tokens, one a file, from seeded places at the beginning of a line.

    `folder` None means the library files of this Python's standard library that the bundled model never saw; else
    all UTF-8 files below it. `encode` adds what the tokenizer puts before a text; `spans` gives each token's place
    in characters without it.
    Raises InputError if fewer than two files have that many tokens.
    """
    if tokens < 2 or documents < 2:
        raise InputError(f"{documents} documents of {tokens} tokens tell nothing", "ask for at least 2 of 2")
    source, files = _standard_library() if folder is None else _folder(folder)
    generator = random.Random(seed)
    generator.shuffle(files)
    found: list[Text] = []
    for path, root in files:
        cut = _cut(shown(path), _read(root / path), encode, spans, tokens, generator)
        if cut is not None:
            found.append(cut)
        if len(found) == documents:
            break
    if len(found) < 2:
        raise InputError(
            f"{source}: {len(found)} files have {tokens} tokens", "lower --text-tokens, or give --text FOLDER with more"
        )
    return Texts(source, tuple(found))


def _standard_library() -> tuple[str, list[tuple[str, Path]]]:
    root = Path(sysconfig.get_path("stdlib"))
    paths = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.py"))
    kept = [path for path in paths if not _NOT_LIBRARY & set(path.split("/")) and in_held_out_part(path)]
    return f"standard library of Python {platform.python_version()}", [(path, root) for path in kept]


def _folder(folder: Path) -> tuple[str, list[tuple[str, Path]]]:
    hint = "give a folder with code that the model has not seen"
    try:
        if not folder.is_dir():
            raise InputError(f"{shown(folder)} is not a folder", hint)
        found = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
        paths = sorted(path.relative_to(folder) for path in found if _is_file(path))
        kept = [p.as_posix() for p in paths if not any(part.startswith(".") for part in p.parts)]
        return shown(folder.resolve().name), [(path, folder) for path in kept]
    except OSError as error:
        raise InputError(f"cannot read the folder {shown(folder)}: {error.strerror or error}", hint) from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a link to a folder without permission
        return False


def _read(file: Path) -> str:
    """The text of a file; empty if it has none, or too much."""
    try:
        return file.read_bytes().decode() if file.stat().st_size <= _LARGEST_FILE_BYTES else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _cut(
    path: str,
    text: str,
    encode: Callable[[str], Sequence[int]],
    spans: Callable[[str], Sequence[tuple[int, int]]],
    tokens: int,
    generator: random.Random,
) -> Text | None:
    """A stretch from a line in the first half of the file; from its beginning where that is too short."""
    lines = [0] + [place + 1 for place, letter in enumerate(text) if letter == "\n"]
    drawn = lines[generator.randrange(max(1, len(lines) // 2))]
    for begin in dict.fromkeys((drawn, 0)):
        piece = text[begin : begin + tokens * _CHARACTERS_PER_TOKEN]
        ids = tuple(encode(piece))
        if len(ids) < tokens:
            continue
        places = spans(piece)
        special = len(ids) - len(places)
        if special < 0 or special >= tokens:
            return Text(path, ids[:tokens], piece, None)
        end = places[tokens - special - 1][1]
        first = 0 if special else places[0][1]
        return Text(path, ids[:tokens], piece[:end], len(piece[first:end].encode()))
    return None
