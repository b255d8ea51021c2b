"""Sentences that people can read at once: at most 25 words, 17 on average. Decisions are notes, and left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.prose import sentences, words

ROOT = Path(__file__).parents[2]
PAGES = [
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "decisions" not in path.parts),
    *sorted((ROOT / "results").glob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]
LONGEST, AVERAGE = 25, 17


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sentence_is_long(path: Path) -> None:
    found = sentences(path.read_text(encoding="utf-8"))
    assert [sentence for sentence in found if words(sentence) > LONGEST] == []


def test_sentences_are_short_on_average() -> None:
    counts = [words(sentence) for path in PAGES for sentence in sentences(path.read_text(encoding="utf-8"))]
    assert sum(counts) / len(counts) <= AVERAGE


def test_a_long_sentence_is_found() -> None:
    long = " ".join(["word"] * 26)
    page = f"# Title\n\nShort one. {long}. Another.\n\n- {long}\n\n```\n{long}\n```\n\n| {long} |\n\n    {long}\n"
    assert [words(sentence) for sentence in sentences(page)] == [2, 26, 1, 26]


def test_code_and_links_count_as_their_text() -> None:
    page = "Run `servewatt run --model x`, then read [the report](a/b.md), in [`stats/energy.py`]. [Why](c.md)."
    assert sentences(page) == ["Run CODE, then read the report, in.", "Why."]
    assert [words(sentence) for sentence in sentences(page)] == [7, 1]


def test_an_item_goes_on_in_the_next_line() -> None:
    assert sentences("- one two\n  three four.\n- five\n\nsix\nseven") == ["one two three four.", "five", "six seven"]
