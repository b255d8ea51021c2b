"""What a database complains of, in words that a user can act on."""

from __future__ import annotations

from servewatt.errors import StoreError


class MissingStoreError(StoreError):
    """There is no store where one was to be read."""


KEPT = "results stored before are whole; start the same command again and only the missing trials run"

CAUSES = (
    ("is locked", "is locked by another process", "wait for it, or end it, and start the same command again"),
    ("readonly database", "is read-only", "make it writable, or choose another --store"),
    ("is full", "cannot grow: the disk is full", f"free some space; {KEPT}"),
    ("disk i/o error", "cannot be written: the disk fails or is full", f"check the disk and its space; {KEPT}"),
    ("not a database", "is not a results store", "give another --store"),
    ("malformed", "is damaged", "restore it from a copy, or choose another --store"),
    ("unable to open", "cannot be opened", "check its path and permissions, and those of its folder"),
)
"""(what the database's message contains, what is wrong, what to do)"""


def explain(error: object, name: str) -> StoreError:
    """The error to raise for the driver's own `error` about the database called `name`."""
    text = " ".join(str(error).split())
    for part, wrong, hint in CAUSES:
        if part in text.lower():
            return StoreError(f"{name} {wrong}", hint)
    return StoreError(f"{name} cannot be used: {text}", f"check the database; {KEPT}")
