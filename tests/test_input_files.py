"""Files that users give: read whatever their encoding and compression, or refused with the reason; never waited for."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt import input_files
from servewatt.errors import InputError
from servewatt.input_files import check_characters, expand, is_there, read_bytes, read_text, shown


@pytest.mark.parametrize(
    "content",
    [
        "é ➞\n".encode(),
        b"\xef\xbb\xbf" + "é ➞\n".encode(),
        b"\xff\xfe" + "é ➞\n".encode("utf-16-le"),
        b"\xfe\xff" + "é ➞\n".encode("utf-16-be"),
        b"\xff\xfe\x00\x00" + "é ➞\n".encode("utf-32-le"),
        gzip.compress("é ➞\n".encode(), mtime=0),
        gzip.compress(b"\xff\xfe" + "é ➞\n".encode("utf-16-le"), mtime=0),
        gzip.compress("é ".encode(), mtime=0) + gzip.compress("➞\n".encode(), mtime=0),
    ],
    ids=["utf-8", "mark", "utf-16-le", "utf-16-be", "utf-32", "gzip", "gzip of utf-16", "two members"],
)
def test_encoding_and_compression_are_told_from_the_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_text(tmp_path / "file", "") == "é ➞\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\ntw\xe9\n", "line 2 is not UTF-8"),
        (b"\xff\xfeodd", "line 1 is not UTF-16"),
        (b"a\nb\0c\n", "line 2 has a zero byte"),
        ("ab\n".encode("utf-16-le"), "line 1 has a zero byte"),
        (gzip.compress(b"text" * 99, mtime=0)[:-9], "gzip compression is damaged"),
        (b"\x1f\x8bnothing of the kind", "gzip compression is damaged"),
        (b"PAR1....PAR1", "is a Parquet file, not text"),
        (b"PK\x03\x04....", "is a zip archive or an office document, not text"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_text(tmp_path / "file", "")
    assert message in caught.value.message
    assert caught.value.hint


def test_flipped_bytes_in_the_middle_of_an_archive(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(bytes(range(256)) * 40))
    content[100:140] = bytes(b ^ 0xFF for b in content[100:140])
    (tmp_path / "file.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*file\.gz"):
        read_text(tmp_path / "file.gz", "")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_size_is_limited_before_and_after_unpacking(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / "file"
    path.write_bytes(pack(b"a" * 2**20))
    assert len(read_text(path, "", most_bytes=2**20)) == 2**20
    path.write_bytes(pack(b"a" * (2**20 + 1)))
    with pytest.raises(InputError, match="holds more than 1 MiB"):
        read_text(path, "", most_bytes=2**20)


def test_a_pipe_is_read_to_its_end_and_may_be_asked_for_again(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"through " * 20000,))
    writer.start()
    assert read_bytes(pipe, "") == b"through " * 20000
    writer.join()
    assert read_bytes(pipe, "") == b"through " * 20000


def test_a_pipe_as_the_shell_s_process_substitution_makes_it() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"def f():\n")
    os.close(writing)
    assert read_text(Path(f"/dev/fd/{reading}"), "") == "def f():\n"
    os.close(reading)


def test_no_pipe_is_waited_for_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_files, "_NO_WRITER_S", 0.1)
    monkeypatch.setattr(input_files, "_SILENT_S", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="nothing was written to the pipe"):
        read_bytes(tmp_path / "pipe", "")
    reading, writing = os.pipe()
    with pytest.raises(InputError, match="nothing came through the pipe"):
        read_bytes(Path(f"/dev/fd/{reading}"), "")
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "there is no file"),
        ("absent/file", "there is no file"),
        (".", "is a folder"),
        ("n" * 300, "cannot read"),
        ("zero\0byte", "cannot read"),
        ("/dev/zero", "neither a file nor a pipe"),
        ("loop", "cannot read"),
        ("half \ud83d", "cannot read"),
    ],
)
def test_what_cannot_be_opened_is_told(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match=message) as caught:
        read_bytes(tmp_path / name, "the next step")
    assert caught.value.hint == "the next step"


def test_names_that_are_not_utf8_can_be_read_and_shown(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    path.write_text("x")
    assert read_text(path, "") == "x"
    assert shown(path.name) == r"caf\xe9.txt"
    assert shown("half \ud83d") == r"half \ud83d"
    path.write_bytes(b"\xff")
    with pytest.raises(InputError) as caught:
        read_text(path, "")
    assert r"caf\xe9.txt: line 1" in caught.value.message.encode().decode()


def test_whether_something_is_there_is_no_error() -> None:
    assert is_there(Path("/"))
    assert not is_there(Path("n" * 5000))
    assert not is_there(Path("zero\0byte"))


def test_a_home_folder_that_nobody_has() -> None:
    with pytest.raises(InputError, match="~nobody-of-that-name/x"):
        expand("~nobody-of-that-name/x")


def test_half_of_a_surrogate_pair_is_no_character() -> None:
    check_characters("\U0001f600 whole", "here")
    with pytest.raises(InputError, match=r"line 3 has half of a surrogate pair \(\\ud83d\)"):
        check_characters("cut \ud83d", "line 3")


@given(st.binary(max_size=200) | st.binary(max_size=100).map(gzip.compress))
def test_any_bytes_are_text_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    try:
        read_text(path, "").encode()
    except InputError as error:
        assert error.hint
