"""SHA-256 of weight files, remembered by path, size and time of change so that each is read once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileDigests:
    """Digests of files; `memory` is the folder that remembers them, None for none."""

    memory: Path | None

    def digest(self, file: Path) -> str:
        """SHA-256 of the file's content, in hexadecimal."""
        status = file.stat()
        seen = [str(file.resolve()), status.st_size, status.st_mtime_ns, status.st_ino]
        note = self._note(file)
        if note is not None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                remembered = json.loads(note.read_text(encoding="utf-8"))
                if remembered["seen"] == seen:
                    return str(remembered["sha256"])
        with file.open("rb") as stream:
            result = hashlib.file_digest(stream, "sha256").hexdigest()
        if note is not None:
            # Only a memory: a cache that cannot be written costs time, nothing else.
            with contextlib.suppress(OSError):
                note.parent.mkdir(parents=True, exist_ok=True)
                draft = note.with_suffix(f".{os.getpid()}")
                draft.write_text(json.dumps({"seen": seen, "sha256": result}), encoding="utf-8")
                draft.replace(note)
        return result

    def _note(self, file: Path) -> Path | None:
        if self.memory is None:
            return None
        return self.memory / f"{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:32]}.json"


def combined(files: Iterable[Path], digests: FileDigests) -> str:
    """One SHA-256 over the names and contents of `files`."""
    lines = "".join(f"{file.name} {digests.digest(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
