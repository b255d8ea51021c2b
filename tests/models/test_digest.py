from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from servewatt.errors import InputError
from servewatt.models.digest import FileDigests


@pytest.fixture
def digests(tmp_path: Path) -> FileDigests:
    return FileDigests(tmp_path / "memory")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which everything was written a while ago."""
    now = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: now)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_is_remembered_is_not_read_again(digests: FileDigests, tmp_path: Path, later: None) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    assert digests.digest(file) == sha256(b"abc")
    (note,) = (tmp_path / "memory").iterdir()
    note.write_text(json.dumps(json.loads(note.read_text()) | {"sha256": "as noted"}))
    assert digests.digest(file) == "as noted"


def test_content_changed_under_the_same_size_and_time_is_seen(
    digests: FileDigests, tmp_path: Path, later: None
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    status = file.stat()
    assert digests.digest(file) == sha256(b"abc")
    time.sleep(0.02)  # another tick of the file system's clock
    with file.open("r+b") as stream:
        stream.write(b"abd")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = file.stat()
    assert (again.st_size, again.st_mtime_ns, again.st_ino) == (status.st_size, status.st_mtime_ns, status.st_ino)
    assert digests.digest(file) == sha256(b"abd")


def test_a_file_that_changed_just_now_is_not_remembered(digests: FileDigests, tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    assert digests.digest(file) == sha256(b"abc")
    assert not (tmp_path / "memory").exists()


def test_names_that_are_not_utf_8(digests: FileDigests, tmp_path: Path, later: None) -> None:
    file = tmp_path / os.fsdecode(b"mod\xe9l")
    try:
        file.write_bytes(b"abc")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    assert digests.digest(file) == sha256(b"abc")


def test_what_is_no_file_is_not_read(digests: FileDigests, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights")
    with pytest.raises(InputError, match="a named pipe, not a file"):
        digests.digest(tmp_path / "weights")
