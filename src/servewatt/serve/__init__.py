"""One loaded configuration behind HTTP."""

from __future__ import annotations

import importlib.util

from servewatt.errors import UnavailableError

PACKAGES = ("starlette", "uvicorn")


def check() -> None:
    """Raise UnavailableError if a package that the server needs is missing; imports none of them."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(f"serving over HTTP needs {' and '.join(missing)}", "pip install 'servewatt[serve]'")
