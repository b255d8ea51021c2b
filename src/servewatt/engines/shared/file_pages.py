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
_MADV_PAGEOUT = 21
"""Of <asm-generic/mman-common.h>; Linux 5.4 and later. Python has no name for it."""


def drop_file_pages(suffix: str) -> None:
    """Drop the pages of every mapped file whose path ends with `suffix`.

    Only mappings that nobody can write to, or that are private and were not written to, are touched: dropping loses
    nothing then. Call it only while no other thread maps, unmaps or writes memory of such a file: what took a mapping's
    place after it was looked up would be wiped. Does nothing where /proc or madvise is missing.
    """
    _advise(suffix, mmap.MADV_DONTNEED)


def page_out_file(suffix: str) -> None:
    """The same while other threads work: loses nothing, whatever has taken a mapping's place meanwhile.

    It gives up the page cache's copy too, so a page used again is read from the disk; and only files that this user
    owns or may write to are let go. Does nothing on kernels before 5.4.
    """
    _advise(suffix, _MADV_PAGEOUT)


def _advise(suffix: str, advice: int) -> None:
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        for start, end in _mappings(suffix):
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice)


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
    """Page such files out while the body runs, whenever more than `enough_bytes` are resident; drop them at its end.

    For libraries that read all weights in one call.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_INTERVAL_S):
            if _resident_file_bytes() > enough_bytes:
                page_out_file(suffix)

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
