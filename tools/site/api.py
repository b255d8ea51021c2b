"""The reference of the Python API: every name of `servewatt.__all__`, by mkdocstrings."""

from __future__ import annotations

import types


def page() -> str:
    """Markdown with a directive for each public name, where its docstring is."""
    import servewatt

    parts = ["# Python API", str(servewatt.__doc__), "    import servewatt"]
    for name in sorted(getattr(servewatt, "__all__", ()), key=str.lower):
        found = getattr(servewatt, name)
        if isinstance(found, types.ModuleType):
            parts.append(f"::: {found.__name__}")
        elif hasattr(found, "__module__"):
            parts.append(f"::: {found.__module__}.{found.__qualname__}")
    return "\n\n".join(parts) + "\n"
