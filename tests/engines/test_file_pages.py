from __future__ import annotations

import ctypes
import mmap
import threading
from pathlib import Path

import pytest

from servewatt.engines.shared import file_pages
from servewatt.engines.shared.file_pages import drop_file_pages, dropping_file_pages

SIZE = 64 * mmap.PAGESIZE


def resident(path: Path) -> int:
    """Bytes of the file that this process holds in memory through its mappings."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, value = line.split()[0], line.split()[1]
        if "-" in name:
            inside = line.endswith(str(path))
        elif inside and name == "Rss:":
            total += int(value) * 1024
    return total


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.test"
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    return path


def read(mapped: mmap.mmap) -> bytes:
    return bytes(mapped[:])


def test_pages_read_are_dropped_and_can_be_read_again(file: Path) -> None:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        content = read(mapped)
        assert resident(file) == SIZE
        drop_file_pages(".other")
        assert resident(file) == SIZE
        drop_file_pages(".test")
        assert resident(file) == 0
        assert read(mapped) == content


def test_what_was_written_to_a_private_mapping_is_kept(file: Path) -> None:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        mapped[5] = 77
        drop_file_pages(".test")
        assert mapped[5] == 77


def test_pages_are_dropped_at_the_end(file: Path) -> None:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        with dropping_file_pages(".test"):
            read(mapped)
            assert resident(file) == SIZE
        assert resident(file) == 0


def test_what_took_a_mapping_s_place_while_others_load_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of mappings is old by the time it is used: here it names memory that now holds something else."""
    content = bytes(range(256)) * (SIZE // 256)
    looks = threading.Semaphore(0)
    with mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as mapped:
        mapped[:] = content
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        ranges = [(start, start + SIZE)]

        def listed(suffix: str) -> list[tuple[int, int]]:
            looks.release()
            return ranges

        monkeypatch.setattr(file_pages, "_mappings", listed)
        monkeypatch.setattr(file_pages, "_INTERVAL_S", 0.001)
        with dropping_file_pages(".test", enough_bytes=0):
            for _ in range(2):  # when it looks again, what it found at first has been let go
                assert looks.acquire(timeout=10)
            assert read(mapped) == content
            ranges.clear()
