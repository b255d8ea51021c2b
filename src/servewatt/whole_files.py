"""Files written whole or not at all: a full disk or an interruption leaves the file that was there before."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content`, text as UTF-8, in place of the file `path`. Raises OSError, and leaves the old file then."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a new file in the same folder: it becomes `path` at the end, or is removed if anything fails.

    A file that is replaced passes its permissions on; a link stays one. What is no regular file, such as /dev/stdout,
    is written to directly. Raises OSError.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = path.resolve()
    partial = target.with_name(f".servewatt-{secrets.token_hex(8)}")
    try:
        yield partial
        if target.exists():
            partial.chmod(stat.S_IMODE(target.stat().st_mode))
        _sync(partial)
        partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def _sync(path: Path) -> None:
    """Have the disk hold the file before it takes the place of another; some disks say only then that they are full."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
