"""Standard output and standard error that end a command in words, whatever they are connected to."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from typing import TYPE_CHECKING, BinaryIO, TextIO

from servewatt.errors import ServewattError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

REPLACE = "servewatt.replace"
"""Name of the handler of encoding errors that writes what a terminal lacks in characters that it has."""

_PLAIN = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u2018\u2019", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("•·", "*"),
    **{"\u00d7": "x", "±": "+-", "…": "...", "≤": "<=", "≥": ">=", "→": "->", "←": "<-"},
    **{"≈": "~", "▸": ">", "µ": "u", "μ": "u"},
}
"""Dashes, quotation marks and signs -> how they are typed."""


class ReaderLeftError(Exception):
    """The reader of standard output, such as `head`, has closed it."""


class _Output(io.FileIO):
    """Standard output: a failed write is reported once in the user's terms; later writes are dropped."""

    def __init__(self, descriptor: int, reason: str = "") -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._reason = reason
        self.failed = False

    def write(self, data: ReadableBuffer, /) -> int:
        if self.failed:
            return memoryview(data).nbytes
        try:
            if self._reason:
                raise OSError(errno.EBADF, self._reason)
            return super().write(data)
        except BrokenPipeError as error:
            self.failed = True
            raise ReaderLeftError from error
        except OSError as error:
            self.failed = True
            raise ServewattError(
                f"cannot write to standard output: {error.strerror}", "send it to a file or a terminal that takes it"
            ) from error


class _Errors(io.FileIO):
    """Standard error: a failed write cannot be reported, so it is dropped."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


class _Text(io.TextIOWrapper):
    """Text to a terminal. It hides its bytes from click, which would write UTF-8 to a terminal of ASCII."""

    def __getattribute__(self, name: str) -> object:
        if name == "buffer":
            raise AttributeError(name)
        return super().__getattribute__(name)


def guard() -> None:
    """Replace `sys.stdout` and `sys.stderr` by streams that replace what they cannot encode and survive failures."""
    closed = sys.stdout is None
    _reserve_descriptors()
    output = _Output(1, "it is closed" if closed else "")
    sys.stdout = _text(io.BufferedWriter(output), sys.stdout, line_buffering=not closed and output.isatty())
    sys.stderr = _text(io.BufferedWriter(_Errors(2, "w", closefd=False)), sys.stderr, line_buffering=True)


def finish(code: int) -> int:
    """Write what is still held back; the exit code, which is 2 where standard output could not be written."""
    from servewatt.cli.ending import exit_code

    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (ServewattError, ReaderLeftError) as error:
            code = code or exit_code(error)
    return code


def _text(raw: BinaryIO | io.BufferedWriter, replaced: TextIO | None, *, line_buffering: bool) -> TextIO:
    encoding = getattr(replaced, "encoding", None) or "utf-8"
    kind = _Text if codecs.lookup(encoding).name == "ascii" else io.TextIOWrapper
    return kind(raw, encoding=encoding, errors=REPLACE, line_buffering=line_buffering)


def _reserve_descriptors() -> None:
    """Open what is closed of descriptors 0 to 2, lest a file opened later take that number and be written to."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is not of its encoding
        return f"\\x{ord(character) - 0xDC00:02x}"
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


codecs.register_error(REPLACE, _replaced)
