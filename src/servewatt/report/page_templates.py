"""The templates of the pages; jinja2 is imported only when a page is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment as Templates


def templates(*packages: str) -> Templates:
    """The templates of our pages, and those of other packages; everything they are given is escaped."""
    from jinja2 import ChoiceLoader, PackageLoader, StrictUndefined
    from jinja2 import Environment as Templates

    # The file's name ends in .j2, which select_autoescape would not take for HTML: escape always.
    return Templates(
        loader=ChoiceLoader([PackageLoader(name) for name in (*packages, "servewatt.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
