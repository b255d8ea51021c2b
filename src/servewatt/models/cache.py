"""The cache of what is derived from models: exported graphs, random checkpoints. Content-addressed, capped, prunable.

    <root>/artefacts/<kind>/<digest>/                 an artefact, whole or absent
    <root>/artefacts/<kind>/<digest>/.servewatt.json  its manifest; its time of change is the time of last use
    <root>/artefacts/<kind>/<digest>.lock             shared by each process that uses it, exclusive to build or remove
    <root>/artefacts/<kind>/.tmp-<digest>-*           one being built

Locks are `flock` locks: the kernel drops them when a process dies, so a temporary folder whose artefact nobody holds
is left over and may go.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from servewatt.errors import InputError, ServewattError, UnavailableError
from servewatt.user_folders import cache_home

DEFAULT_CAP_BYTES = 20 * 2**30
CAP_VARIABLE = "SERVEWATT_CACHE_CAP"
MANIFEST = ".servewatt.json"
PRUNE_HINT = "`servewatt models prune` frees room, or set XDG_CACHE_HOME to a folder on a larger disk"

_TEMPORARY = ".tmp-"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_MOST_BYTES = 2**60
_UNITS = {"": 1, "b": 1}
_UNITS |= {f"{letter}{b}": 1000**n for n, letter in enumerate("kmgt", 1) for b in ("", "b")}
_UNITS |= {f"{letter}i{b}": 1024**n for n, letter in enumerate("kmgt", 1) for b in ("", "b")}


@dataclass(frozen=True)
class Entry:
    """One artefact in the cache."""

    kind: str
    key: tuple[str, ...]
    """What the artefact depends on, as its builder gave it; empty if its manifest cannot be read."""
    folder: Path
    size_bytes: int
    created_s: float
    """Seconds since 1970."""
    last_used_s: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Pruned:
    """What a pruning did."""

    removed: tuple[Entry, ...]
    in_use: tuple[Entry, ...]
    """Entries that would have gone, but that a running process holds."""

    @property
    def freed_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.removed)


def cache_root() -> Path:
    """servewatt's cache folder: `$XDG_CACHE_HOME/servewatt`, by default `~/.cache/servewatt`."""
    return cache_home() / "servewatt"


def parse_bytes(text: str) -> int:
    """A number of bytes with an optional unit, such as `20GiB`, `500 MB` or `1000000`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if not found or found.group(2).lower() not in _UNITS:
        raise InputError(f"{text!r} is no amount of bytes", "write it like 20GiB, 500MB or 1000000")
    size = float(found.group(1)) * _UNITS[found.group(2).lower()]
    if size > _MOST_BYTES:
        raise InputError(f"{text[:60]!r} is more than any disk holds", "write it like 20GiB, 500MB or 1000000")
    return int(size)


def cap_from_environment() -> int:
    """The cap that SERVEWATT_CACHE_CAP sets, or the default."""
    text = os.environ.get(CAP_VARIABLE)
    if not text:
        return DEFAULT_CAP_BYTES
    try:
        return parse_bytes(text)
    except InputError as error:
        raise InputError(f"{CAP_VARIABLE}: {error.message}", error.hint) from error


def format_bytes(size: int) -> str:
    """A size for people, such as `1.6 GB`."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 999.5:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f} {unit}"


class ArtefactCache:
    """Artefacts under `root`, held below `cap_bytes` by removing those unused for longest.

    An artefact that was handed out stays locked against removal until `close` or the end of the process.
    """

    def __init__(self, root: Path | None = None, cap_bytes: int | None = None) -> None:
        self.root = cache_root() if root is None else root
        self.cap_bytes = cap_from_environment() if cap_bytes is None else cap_bytes
        self._held: dict[Path, int] = {}

    def __enter__(self) -> ArtefactCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """Where the artefacts lie."""
        return self.root / "artefacts"

    def path(self, kind: str, key: Sequence[str]) -> Path:
        """The folder of an artefact, whether it exists or not."""
        digest = hashlib.sha256(json.dumps([kind, *key]).encode()).hexdigest()[:40]
        return self.folder / kind / digest

    def get_or_build(
        self, kind: str, key: Sequence[str], build: Callable[[Path], None], expected_bytes: int = 0
    ) -> Path:
        """The folder of the artefact that `kind` and `key` name; `build(folder)` fills it the first time.

        Waits where another process is building the same artefact. A build that fails or is killed leaves nothing
        behind. With `expected_bytes`, room is made and checked before the build starts.
        Raises UnavailableError if the disk is full or the cache cannot be written.
        """
        folder = self.path(kind, key)
        if folder in self._held:
            if folder.is_dir():
                _touch(folder)
                return folder
            os.close(self._held.pop(folder))  # someone removed it by hand
        with self._explained(kind):
            folder.parent.mkdir(parents=True, exist_ok=True)
            while True:
                handle = _lock(folder, fcntl.LOCK_SH)
                if folder.is_dir():
                    break
                os.close(handle)
                self._build(folder, kind, key, build, expected_bytes)
        self._held[folder] = handle
        _touch(folder)
        self._evict(self.cap_bytes, keep=folder)
        return folder

    def entries(self) -> list[Entry]:
        """Every artefact, the one unused for longest first."""
        found = [_entry(folder) for kind in _folders(self.folder) for folder in _folders(kind)]
        return sorted((e for e in found if e is not None), key=lambda entry: entry.last_used_s)

    def prune(
        self, *, everything: bool = False, older_than_s: float | None = None, to_bytes: int | None = None
    ) -> Pruned:
        """Remove leftovers of dead processes, and artefacts that no process holds: all of them, those unused for
        `older_than_s` seconds, or those unused for longest until at most `to_bytes` remain (default: the cap).
        """
        self._sweep()
        if everything:
            return self._evict(-1)
        if older_than_s is not None:
            limit = time.time() - older_than_s
            aged = _remove_each([e for e in self.entries() if e.last_used_s <= limit])
            if to_bytes is None:
                return aged
            more = self._evict(to_bytes)
            return Pruned(aged.removed + more.removed, more.in_use)
        return self._evict(self.cap_bytes if to_bytes is None else to_bytes)

    def evict_used_since(self, moment_s: float) -> Pruned:
        """Remove the artefacts that no process holds and that were last used at or after `moment_s` (since 1970).

        For work that goes through more models than the disk holds: each one's artefacts go once it is done.
        """
        self._sweep()
        return _remove_each([e for e in self.entries() if e.last_used_s >= moment_s])

    def close(self) -> None:
        """Let go of every artefact that was handed out."""
        while self._held:
            os.close(self._held.popitem()[1])

    def _build(
        self, folder: Path, kind: str, key: Sequence[str], build: Callable[[Path], None], expected_bytes: int
    ) -> None:
        handle = _lock(folder, fcntl.LOCK_EX)
        try:
            if not folder.is_dir():
                self._sweep()
                self._make_room(kind, expected_bytes)
                _fill(folder, kind, key, build)
        finally:
            os.close(handle)

    def _make_room(self, kind: str, expected_bytes: int) -> None:
        if not expected_bytes:
            return
        self._evict(max(self.cap_bytes - expected_bytes, 0))
        free = shutil.disk_usage(self.folder).free
        if free < expected_bytes:
            raise self._full(f"the {kind} artefact needs {format_bytes(expected_bytes)}")

    def _evict(self, limit: int, keep: Path | None = None) -> Pruned:
        """Remove unheld entries, longest unused first, while the sum of sizes is above `limit`."""
        entries = self.entries()
        total = sum(entry.size_bytes for entry in entries)
        removed, in_use = [], []
        for entry in entries:
            if total <= limit:
                break
            if entry.folder == keep:
                continue
            if _remove(entry.folder):
                total -= entry.size_bytes
                removed.append(entry)
            else:
                in_use.append(entry)
        return Pruned(tuple(removed), tuple(in_use))

    def _sweep(self) -> None:
        """Remove what builders that died left behind."""
        for kind in _folders(self.folder):
            for leftover in kind.glob(f"{_TEMPORARY}*"):
                folder = kind / leftover.name.removeprefix(_TEMPORARY).partition("-")[0]
                handle = _try_lock(folder)
                if handle is not None:
                    shutil.rmtree(leftover, ignore_errors=True)
                    _unlock(folder, handle, forget=not folder.exists())

    @contextmanager
    def _explained(self, kind: str) -> Iterator[None]:
        """Turn a full or unwritable disk into an error that says so; other errors pass."""
        try:
            yield
        except ServewattError:
            raise
        except Exception as error:
            if _is_full(error):
                raise self._full(f"no room left for the {kind} artefact") from error
            if (
                isinstance(error, OSError)
                and error.errno in _UNWRITABLE
                and str(error.filename or "").startswith(str(self.root))
            ):
                raise UnavailableError(
                    f"cannot write the cache {self.folder}: {error}", "set XDG_CACHE_HOME to a folder you may write"
                ) from error
            raise

    def _full(self, what: str) -> UnavailableError:
        free = shutil.disk_usage(self.folder).free
        used = sum(entry.size_bytes for entry in self.entries())
        return UnavailableError(
            f"{what}: {format_bytes(free)} free at {self.folder}, {format_bytes(used)} of artefacts there", PRUNE_HINT
        )


def _fill(folder: Path, kind: str, key: Sequence[str], build: Callable[[Path], None]) -> None:
    for leftover in folder.parent.glob(f"{_TEMPORARY}{folder.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{folder.name}-", dir=folder.parent))
    try:
        build(draft)
        manifest = {"kind": kind, "key": list(key), "size_bytes": _size(draft), "created_s": time.time()}
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        draft.chmod(0o755)  # mkdtemp makes it private; caches are shared by group and container
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _entry(folder: Path) -> Entry | None:
    manifest = folder / MANIFEST
    try:
        last_used = (manifest if manifest.exists() else folder).stat().st_mtime
        try:
            noted = json.loads(manifest.read_text(encoding="utf-8"))
            key, size, created = tuple(map(str, noted["key"])), int(noted["size_bytes"]), float(noted["created_s"])
            if not size:  # one that was handed out empty, for a compiler to keep what it makes in, grows in use
                size = _size(folder)
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            key, size, created = (), _size(folder), last_used
    except FileNotFoundError:  # removed by another process meanwhile
        return None
    return Entry(folder.parent.name, key, folder, size, created, last_used)


def _remove_each(entries: list[Entry]) -> Pruned:
    gone = [_remove(entry.folder) for entry in entries]
    return Pruned(
        tuple(e for e, removed in zip(entries, gone, strict=True) if removed),
        tuple(e for e, removed in zip(entries, gone, strict=True) if not removed),
    )


def _remove(folder: Path) -> bool:
    """Remove an artefact unless a process holds it; tells whether it is gone."""
    handle = _try_lock(folder)
    if handle is None:
        return False
    try:
        # Renamed first: a removal that is killed half-way leaves a leftover, not half an artefact.
        doomed = folder.parent / f"{_TEMPORARY}{folder.name}-removed-{os.getpid()}"
        with suppress(FileNotFoundError):
            folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        return True
    finally:
        _unlock(folder, handle, forget=True)


def _lock(folder: Path, operation: int) -> int:
    """A handle that holds the lock of an artefact."""
    path = folder.with_name(folder.name + ".lock")
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, operation)
            with suppress(FileNotFoundError):
                # The file may have been removed with its artefact while this waited for it.
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _try_lock(folder: Path) -> int | None:
    """The exclusive lock of an artefact; None where another holds it."""
    try:
        return _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def _unlock(folder: Path, handle: int, *, forget: bool) -> None:
    if forget:
        folder.with_name(folder.name + ".lock").unlink(missing_ok=True)
    os.close(handle)


def _touch(folder: Path) -> None:
    with suppress(OSError):  # a cache that may only be read is still of use
        os.utime(folder / MANIFEST)


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def _size(folder: Path) -> int:
    """Bytes of the files in it but its manifest; other processes may be adding and removing some meanwhile."""
    size = 0
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names if name != MANIFEST):
            with suppress(FileNotFoundError):
                size += 0 if path.is_symlink() else path.lstat().st_size
    return size


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error; libraries in other languages tell it only by its text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
