"""A notebook as Markdown: its text, and its code without what it printed."""

from __future__ import annotations

import json
from pathlib import Path


def notebook(path: str) -> str:
    """The cells of the notebook at `path`, from the second on: the first is its title."""
    parts = []
    for cell in json.loads(Path(path).read_text(encoding="utf-8"))["cells"][1:]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts)
