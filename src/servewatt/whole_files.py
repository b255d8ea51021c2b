"""Files written whole or not at all: a full disk or an interruption leaves the file that was there before."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content`, text as UTF-8, in place of the file `path`. Raises OSError, and leaves the old file then.

    What is no character, as in the name of a file that is not UTF-8, is written as `\\udce9`.
    """
    with replacing(path) as partial:
        partial.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a new file in the same folder: it becomes `path` at the end, or is removed if anything fails.

    A file that is replaced passes its permissions on; a link stays one. What is no regular file, such as /dev/stdout,
    is written to at the end. Raises OSError, also for a pipe that nobody reads.
    """
    if path.exists() and not path.is_file():
        # Before anything is made: a folder, or a pipe without a reader, is refused at once.
        with _open_device(path) as device, tempfile.TemporaryDirectory(prefix="servewatt-") as folder:
            yield Path(folder, path.name)
            device.write(Path(folder, path.name).read_bytes())
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


def _open_device(path: Path) -> BinaryIO:
    """A device or pipe to write to. Raises OSError where that would wait for a reader, and for a folder."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb")


def _sync(path: Path) -> None:
    """Have the disk hold the file before it takes the place of another; some disks say only then that they are full."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
