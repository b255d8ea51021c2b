"""Translates database errors into messages that a user can act on."""

from __future__ import annotations

from servewatt.errors import StoreError


class MissingStoreError(StoreError):
    """There is no store where one was to be read."""


class DamagedStoreError(StoreError):
    """The database itself is damaged; some of it may still be readable."""


class AlreadyStoredError(StoreError):
    """The database holds a row of this name already."""


class LostClaimError(StoreError):
    """The claim now belongs to another process."""


class LostStoreError(StoreError):
    """The file at the store's path is no longer the store that was opened."""


KEPT = "results stored before are whole; start the same command again and only the missing trials run"

LOCAL = "give --store on a local disk (or set XDG_DATA_HOME to one)"
"""The way out where the store lies on a network disk."""

CAUSES: tuple[tuple[str, type[StoreError], str, str], ...] = (
    (
        "locking protocol",
        StoreError,
        "cannot be locked: most likely it lies on a network disk (NFS, Lustre, GPFS), where SQLite cannot share a file",
        LOCAL,
    ),
    ("stale file handle", StoreError, "was lost by its network disk (stale file handle)", LOCAL),
    (
        "is locked",
        StoreError,
        "is locked by another process",
        f"wait for it, or end it, and start the same command again; if none runs and this is a network disk, {LOCAL}",
    ),
    ("readonly", StoreError, "is read-only", "make it writable, or choose another --store"),
    ("is full", StoreError, "cannot grow: the disk is full", f"free some space; {KEPT}"),
    (
        "disk i/o error",
        StoreError,
        "cannot be read or written: the disk fails or is full, or it is a network disk (NFS, Lustre, GPFS)",
        f"check the disk and its space, or {LOCAL}; {KEPT}",
    ),
    ("not a database", StoreError, "is not a results store", "give another --store"),
    (
        "malformed",
        DamagedStoreError,
        "is damaged",
        "restore it from a copy, or choose another --store; `servewatt report --list` shows what can still be read, "
        "and `servewatt report RUN --export FILE` saves it",
    ),
    (
        "unable to open",
        StoreError,
        "cannot be opened",
        f"check its path and permissions, and those of its folder; if it is on a network disk, {LOCAL}",
    ),
)
"""(what the database's message contains, kind of error, what is wrong, what to do)"""


def explain(error: object, name: str) -> StoreError:
    """The error to raise for the driver's own `error` about the database called `name`."""
    text = " ".join(str(error).split())
    for part, kind, wrong, hint in CAUSES:
        if part in text.lower():
            return kind(f"{name} {wrong}", hint)
    return StoreError(f"{name} cannot be used: {text}", f"check the database; {KEPT}")
