from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from servewatt.errors import InputError
from servewatt.workloads.held_out import in_held_out_part, read_texts
from tools.bundled_corpus import Part, Source


def spans(text: str) -> list[tuple[int, int]]:
    """Words, and each other character."""
    return [match.span() for match in re.finditer(r"\w+|\W", text)]


def encode(text: str) -> list[int]:
    return [len(text[a:b]) for a, b in spans(text)]


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_the_standard_library_s_part_is_what_the_bundled_model_never_saw() -> None:
    texts = read_texts(None, encode, spans, documents=5, tokens=64)
    assert texts.source.startswith("standard library of Python 3.")
    assert len(texts.documents) == 5
    for document in texts.documents:
        assert Source(document.path, "").part is Part.HELD_OUT
        assert len(document.ids) == 64
    assert not in_held_out_part("os.py") or Source("os.py", "").part is Part.HELD_OUT


def test_the_seed_decides_and_the_digest_tells() -> None:
    first, again, other = (read_texts(None, encode, spans, documents=4, tokens=32, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first.digest == again.digest != other.digest


def test_bytes_are_those_of_the_tokens_after_the_first(tmp_path: Path) -> None:
    folder = write(tmp_path, a="été = 1", b="été = 1")
    texts = read_texts(folder, encode, spans, documents=2, tokens=4)
    assert [(d.text, d.scored_bytes) for d in texts.documents] == [("été = ", 3)] * 2
    begun = read_texts(folder, lambda text: [0, *encode(text)], spans, documents=2, tokens=4)
    # The first id is none of the text's, so all three tokens of the text are scored: 5 + 1 + 1 bytes.
    assert [(d.text, d.scored_bytes) for d in begun.documents] == [("été =", 7)] * 2


def test_names_that_are_not_utf8_pipes_and_broken_links(tmp_path: Path) -> None:
    for name in (b"caf\xe9.py", b"th\xe9.py"):
        (tmp_path / os.fsdecode(name)).write_text("x = 1\n" * 20)
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "broken.py").symlink_to(tmp_path / "nowhere")
    texts = read_texts(tmp_path, encode, spans, documents=9, tokens=20)
    assert sorted(d.path for d in texts.documents) == [r"caf\xe9.py", r"th\xe9.py"]
    assert len(texts.digest) == 64


def test_files_that_are_too_short_or_no_text_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, a="x = 1\n" * 20, b="y = 2\n" * 20, short="z")
    (tmp_path / "binary").write_bytes(b"\xff\xfe" * 100)
    texts = read_texts(tmp_path, encode, spans, documents=9, tokens=20)
    assert sorted(d.path for d in texts.documents) == ["a.py", "b.py"]
    with pytest.raises(InputError, match="0 files have 500 tokens"):
        read_texts(tmp_path, encode, spans, documents=9, tokens=500)
    with pytest.raises(InputError, match="not a folder"):
        read_texts(tmp_path / "none", encode, spans, documents=9, tokens=5)
