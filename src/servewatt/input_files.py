"""Files that users give: read whole, unpacked and decoded, with every way in which that fails told as an InputError.

What a file is, is decided by its content and never by its name: gzip by its first bytes, UTF-8 or UTF-16 by a byte
order mark. Pipes are read to their end, so that `<(command)` and /dev/stdin work; none of them is waited for forever.
"""

from __future__ import annotations

import gzip
import io
import os
import select
import stat
import time
import zlib
from pathlib import Path

from servewatt.errors import InputError
from servewatt.file_kinds import GZIP_MAGIC

MOST_BYTES = 256 * 2**20
"""Most bytes of a file of text, once unpacked."""
_NO_WRITER_S = 5.0
"""How long a named pipe that nobody writes to is waited for."""
_SILENT_S = 60.0
"""How long a pipe that is held open is waited for between two pieces."""
_PIECE_BYTES = 2**20
_read_pipes: dict[tuple[int, int], bytes] = {}
"""What came through each pipe: it can be read once only, and a command may need it again."""

_BINARY = (
    (b"PAR1", "a Parquet file"),
    (b"PK\x03\x04", "a zip archive or an office document"),
    (b"BZh", "compressed by bzip2"),
    (b"\xfd7zXZ\x00", "compressed by xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"SQLite format 3\x00", "an SQLite database"),
)
_MARKS = (
    # That of UTF-32 begins with that of UTF-16.
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def shown(path: str | os.PathLike[str]) -> str:
    """A path as text that can be printed, hashed and stored: bytes that are not UTF-8 become `\\xe9`."""
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, which no file's name gives
        return os.fspath(path).encode("utf-8", "backslashreplace").decode()


def expand(text: str) -> Path:
    """The path that a user typed, with `~` expanded; InputError where there is no home folder to put in its place."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"{text}: {error}", "write the whole path, or set HOME") from error


def is_there(path: Path) -> bool:
    """Whether anything has this name; False too where that cannot be found out, as for a name that is too long."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def read_text(path: Path, hint: str, *, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file, gzip or not, in UTF-8 or UTF-16; a byte order mark is dropped, line ends are left alone.

    Raises InputError, with `hint` as the next step where the reason suggests none.
    """
    content = unpack(read_bytes(path, hint, most_bytes=most_bytes), path, most_bytes=most_bytes)
    return decode(content, path)


def read_bytes(path: Path, hint: str, *, most_bytes: int = MOST_BYTES) -> bytes:
    """The bytes of a file or a pipe as they are; InputError if they cannot be read, or are more than `most_bytes`."""
    name = shown(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {name}", hint) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte within the name
        raise InputError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}", hint) from error
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"{name} is a folder", hint)
        if stat.S_ISREG(found.st_mode):
            if found.st_size > most_bytes:
                raise _too_large(name, most_bytes)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(most_bytes + 1)
        elif stat.S_ISFIFO(found.st_mode):
            key = (found.st_dev, found.st_ino)
            content = _read_pipes.get(key) or _from_pipe(descriptor, name, most_bytes)
            _read_pipes[key] = content
        elif os.isatty(descriptor):
            content = _from_pipe(descriptor, name, most_bytes)
        else:
            raise InputError(f"{name} is neither a file nor a pipe", hint)
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}", hint) from error
    finally:
        os.close(descriptor)
    if len(content) > most_bytes:
        raise _too_large(name, most_bytes)
    return content


def _from_pipe(descriptor: int, name: str, most_bytes: int) -> bytes:
    """Everything that is written to a pipe until its last writer closes it."""
    pieces: list[bytes] = []
    left_bytes = most_bytes + 1
    begin_s = time.monotonic()
    while left_bytes > 0:
        try:
            piece = os.read(descriptor, min(left_bytes, _PIECE_BYTES))
        except BlockingIOError:  # a writer holds it open
            if not select.select([descriptor], [], [], _SILENT_S)[0]:
                raise InputError(
                    f"nothing came through the pipe {name} for {_SILENT_S:.0f} s", "write to a file, and give that"
                ) from None
            continue
        if piece:
            pieces.append(piece)
            left_bytes -= len(piece)
        elif pieces:
            break
        elif time.monotonic() - begin_s > _NO_WRITER_S:
            raise InputError(f"nothing was written to the pipe {name}", "write to a file, and give that")
        else:  # Without a writer a pipe reads as ended; one may still be about to open it.
            time.sleep(0.02)
    return b"".join(pieces)


def unpack(content: bytes, path: Path, *, most_bytes: int = MOST_BYTES) -> bytes:
    """`content`, decompressed if it is gzip; InputError if that is damaged, or holds more than `most_bytes`."""
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(content)).read(most_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"cannot read {shown(path)}: its gzip compression is damaged ({error})", "copy or download it again"
        ) from error
    if len(unpacked) > most_bytes:
        raise _too_large(shown(path), most_bytes)
    return unpacked


def decode(content: bytes, path: Path) -> str:
    """The text that `content` encodes; InputError names the first line that is none."""
    name = shown(path)
    for magic, what in _BINARY:
        if content.startswith(magic):
            raise InputError(f"{name} is {what}, not text", "save it as text in UTF-8")
    encoding = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        called = encoding.upper().removesuffix("-SIG")
        raise InputError(
            f"{name}: line {line} is not {called}", "convert it, for example with iconv -f LATIN1 -t UTF-8"
        ) from error
    if (place := text.find("\0")) >= 0:
        raise InputError(
            f"{name}: line {text.count(chr(10), 0, place) + 1} has a zero byte, so it is not UTF-8 text",
            "if it is UTF-16, convert it: iconv -f UTF-16LE -t UTF-8",
        )
    return text


def check_characters(text: str, where: str) -> None:
    """Raise InputError if `text` has half of a surrogate pair, as `\\ud83d` in JSON makes; UTF-8 has no form for it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise InputError(
            f"{where} has half of a surrogate pair ({half}), which is no character",
            "write the whole character; it was cut in the middle of an emoji, for example",
        ) from error


def _too_large(name: str, most_bytes: int) -> InputError:
    return InputError(f"{name} holds more than {most_bytes >> 20} MiB", "give a smaller part of it")
