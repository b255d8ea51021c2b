"""Pages and tables of the site that are made from the code, and what a page would load from elsewhere."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Callable
from pathlib import Path

from tools.site import api, commands, engines, inputs, notebook

ROOT = Path(__file__).parents[2]

TABLES: dict[str, Callable[..., str]] = {
    "install": engines.install,
    "precisions": engines.precisions,
    "options": engines.options,
    "engines": engines.overview,
    "support": engines.support,
    "output": commands.output,
    "notebook": notebook.notebook,
    "ranges": inputs.ranges,
}
PLACE = re.compile(r"^<!-- made: (\w+) ?(.*?) -->$", re.MULTILINE)
"""Where a table made from the code stands in a page: `<!-- made: options onnx -->`."""


def generated() -> dict[str, str]:
    """Path in the site -> Markdown of the pages that exist nowhere as files."""
    pages = {f"reference/commands/{name}": text for name, text in commands.pages().items()}
    return pages | {"reference/api.md": api.page()}


def with_tables(markdown: str) -> str:
    """The page with its tables in place of their comments."""
    return PLACE.sub(lambda place: TABLES[place[1]](*filter(None, [place[2]])), markdown)


def moved(path: Path) -> str:
    """The text of a page outside docs/, with its links as they are from inside."""
    text = re.sub(r"\]\((?:\.\./)?docs/", "](../" if path.parent != ROOT else "](", path.read_text(encoding="utf-8"))
    return text.replace("](README.md", "](index.md")


class _Resources(html.parser.HTMLParser):
    """Addresses that a browser loads by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") not in ("canonical", "alternate"):
            self.found.append(values.get("href") or "")
        elif tag in ("script", "img", "iframe", "source", "video"):
            self.found.append(values.get("src") or "")


def foreign(page: str) -> list[str]:
    """What a page would load from another host."""
    parser = _Resources()
    parser.feed(page)
    return [address for address in parser.found if re.match(r"(?:https?:)?//", address)]
