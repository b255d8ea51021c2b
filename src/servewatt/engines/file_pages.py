"""Pages of mapped files that this process has read and need not keep.

Weights are mapped from files. A library that copies or packs them leaves the pages it has read in the process's
resident memory, a second copy of all weights. Dropping them frees that memory; a page used again comes back from the
file, most often out of the page cache.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_INTERVAL_S = 0.25


def drop_file_pages(suffix: str) -> None:
    """Drop the pages of every mapped file whose path ends with `suffix`.

    Only mappings that nobody can write to, or that are private and were not written to, are touched: dropping loses
    nothing then. Does nothing where /proc or madvise is missing.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        for start, end in _mappings(suffix):
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def _mappings(suffix: str) -> list[tuple[int, int]]:
    """Address ranges of unwritten mappings of such files; see `man 5 proc` on /proc/pid/smaps."""
    ranges: list[tuple[int, int]] = []
    current: tuple[int, int] | None = None
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split(maxsplit=5)
        if "-" in fields[0] and not fields[0].endswith(":"):
            first, _, last = fields[0].partition("-")
            current = None
            if len(fields) == 6 and fields[5].endswith(suffix):
                current = (int(first, 16), int(last, 16))
                ranges.append(current)
        elif current is not None and fields[0] == "Anonymous:" and int(fields[1]) > 0:
            ranges.remove(current)
    return ranges


@contextmanager
def dropping_file_pages(suffix: str, enough_bytes: int = 1 << 30) -> Iterator[None]:
    """Drop such pages again and again while the body runs, whenever they have grown by `enough_bytes`, and at its end.

    For libraries that read all weights in one call.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_INTERVAL_S):
            if _resident_file_bytes() > enough_bytes:
                drop_file_pages(suffix)

    watcher = threading.Thread(target=watch, name="file-pages", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        drop_file_pages(suffix)


def _resident_file_bytes() -> int:
    """Bytes of mapped files in resident memory; see `man 5 proc` on /proc/pid/statm."""
    with suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[2]) * os.sysconf("SC_PAGE_SIZE")
    return 0
