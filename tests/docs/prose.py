"""The sentences of a Markdown page, without its code, tables, headings and addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
CODE = re.compile(r"`[^`]*`")
PLACES = re.compile(r"\s*\[(?:CODE(?:, )?)+\]")
"""Files of code that stand in brackets, such as [`stats/energy.py`]."""
NO_PROSE = ("#", "|", "!!!", "???")
ITEM = re.compile(r"^\s*(?:[-*]|\d+\.|:)\s+")
END = re.compile(r"(?<=[.!?])[\"')*\]]*\s+|:\s*$")
WORD = re.compile(r"\w[\w'.,:/-]*")


def sentences(markdown: str) -> list[str]:
    """Every sentence of the running text; a list's item is a paragraph of its own."""
    text = IMAGE.sub("", COMMENT.sub("", FENCE.sub("", markdown)))
    return [sentence.strip() for block in _blocks(text) for sentence in _split(block) if WORD.search(sentence)]


def words(sentence: str) -> int:
    """How many words; code, a number or a name with dots counts as one."""
    return len(WORD.findall(sentence))


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs and list items, each in one line; lines indented by four are code unless an item goes on in them."""
    block: list[str] = []
    item = False
    for line in [*text.splitlines(), ""]:
        begins = bool(ITEM.match(line))
        prose = bool(line.strip()) and not line.startswith(NO_PROSE) and not (line.startswith("    ") and not item)
        if begins or not prose:
            yield " ".join(block)
            block = []
        item = begins or (item and prose)
        if prose:
            block.append(ITEM.sub("", line).strip())


def _split(block: str) -> list[str]:
    plain = PLACES.sub("", CODE.sub("CODE", LINK.sub(r"\1", block)))
    return END.split(plain)
