"""The reference of the Python API: every name of `servewatt.__all__`, by mkdocstrings."""

from __future__ import annotations

import types


def page() -> str:
    """Markdown with a directive for each public name, where its docstring is."""
    import servewatt

    parts = ["# Python API", str(servewatt.__doc__)]
    for name in servewatt.__all__:
        found = getattr(servewatt, name)
        if isinstance(found, types.ModuleType):
            parts.append(f"::: {found.__name__}")
        elif hasattr(found, "__module__"):
            parts.append(f"::: {found.__module__}.{found.__qualname__}")
    return "\n\n".join(parts) + "\n"
