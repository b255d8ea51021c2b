"""SHA-256 of weight files, remembered by path, size and times of change so that each is read once.

The time of change of the inode (ctime) is one of them: unlike that of the content it cannot be set, so a file that was
replaced or rewritten under its old size and time is another. A file that changed just now is not remembered: a second
change within the same tick of the file system's clock would leave no trace.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from servewatt.checkpoints.files import open_file

_SETTLED_S = 2.0
"""Beyond the resolution of any file system's times."""


@dataclass(frozen=True)
class FileDigests:
    """Digests of files; `memory` is the folder that remembers them, None for none."""

    memory: Path | None

    def digest(self, file: Path) -> str:
        """SHA-256 of the file's content, in hexadecimal."""
        before = _seen(file)
        note = self._note(file)
        if note is not None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                remembered = json.loads(note.read_text(encoding="utf-8"))
                if remembered["seen"] == before:
                    return str(remembered["sha256"])
        with open_file(file) as stream:
            result = hashlib.file_digest(stream, "sha256").hexdigest()
        # What changed while it was read is not what was read.
        if note is not None and _seen(file) == before and time.time() - before[-1] / 1e9 > _SETTLED_S:
            # Only a memory: a cache that cannot be written costs time, nothing else.
            with contextlib.suppress(OSError):
                note.parent.mkdir(parents=True, exist_ok=True)
                draft = note.with_suffix(f".{os.getpid()}")
                draft.write_text(json.dumps({"seen": before, "sha256": result}), encoding="utf-8")
                draft.replace(note)
        return result

    def _note(self, file: Path) -> Path | None:
        if self.memory is None:
            return None
        return self.memory / f"{hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:32]}.json"


def _seen(file: Path) -> list[int]:
    """What tells one state of a file from another; the time of change of its inode, in nanoseconds, last."""
    status = file.stat()
    return [status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def combined(files: Iterable[Path], digests: FileDigests) -> str:
    """One SHA-256 over the names and contents of `files`."""
    lines = "".join(f"{file.name} {digests.digest(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
