"""However a command ends: a line or two in the user's terms, a documented exit code, never a traceback."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

from servewatt.cli import root
from servewatt.cli.main import run

RUN = str(Path(__file__).parents[2] / "examples" / "h200-bundled.json.gz")
MAIN = "from servewatt.cli.main import main; main()"


def shell(line: str, script: str = MAIN, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """What a shell makes of `line`, in which `$SERVEWATT` is the command."""
    environment = {**os.environ, "SERVEWATT": f'{sys.executable} -c "{script}"', **variables}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line.replace('$SERVEWATT', environment['SERVEWATT'])}"],
        env=environment,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1", "utf-16"])
@pytest.mark.parametrize("form", ["", " --markdown"])
def test_characters_that_the_terminal_lacks_are_replaced(encoding: str, form: str) -> None:
    done = shell(f"$SERVEWATT report {RUN}{form}", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding.partition(":")[0])
    assert "torchscript" in text
    assert "?" not in text


def test_a_file_name_in_another_encoding_can_be_told() -> None:
    done = shell("$SERVEWATT report ./caf$'\\xe9'.json")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: there is no file ./caf\\xe9.json\n")


@pytest.mark.parametrize("form", ["", " --json", " --help"])
def test_a_full_disk_under_standard_output_is_told_in_two_lines(form: str) -> None:
    done = shell(f"$SERVEWATT report {RUN}{form} > /dev/full")
    assert done.returncode == 2
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "error: cannot write to standard output: No space left on device"
    assert len(lines) == 2


def test_a_closed_standard_output_is_told() -> None:
    done = shell(f"$SERVEWATT report {RUN} >&-")
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: cannot write to standard output: it is closed\n")


def test_a_closed_standard_error_loses_only_what_would_be_said_there() -> None:
    assert shell("$SERVEWATT report nothing 2>&-").returncode == 2
    assert shell(f"$SERVEWATT report {RUN} 2>&- | grep -q torchscript").returncode == 0


def test_a_file_does_not_take_the_place_of_a_closed_output(tmp_path: Path) -> None:
    out = tmp_path / "run.json.gz"
    assert shell(f"$SERVEWATT report {RUN} --export {out} <&- >&- 2>&-").returncode == 0
    assert shell(f"$SERVEWATT report {out} | grep -q torchscript").returncode == 0


def test_a_reader_that_has_seen_enough_ends_the_command_silently() -> None:
    done = shell(f"$SERVEWATT report {RUN} --json | head -c 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"{", b"")


@pytest.mark.parametrize("variables", [{"COLUMNS": "1"}, {"COLUMNS": "0"}, {"TERM": "dumb"}, {"LC_ALL": "C"}])
def test_odd_terminals(variables: dict[str, str]) -> None:
    done = shell(f"$SERVEWATT report {RUN}", **variables)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("where", ["servewatt.cli.root", "servewatt.cli.streams", "click"])
def test_an_interrupt_while_it_is_imported(where: str) -> None:
    script = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == '{where}':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.meta_path.insert(0, Interrupt())\n" + MAIN
    )
    done = shell("$SERVEWATT --help", script)
    assert (done.returncode, done.stderr) == (130, b"interrupted\n")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """An error in this list is raised by `servewatt doctor`."""
    errors: list[BaseException] = []

    @click.command()
    def command() -> None:
        raise errors[0]

    monkeypatch.setattr(root.command, "get_command", lambda _context, _name: command)
    return errors


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division by zero"),
        OSError(28, "No space left on device"),
        EOFError("Compressed file ended"),
        UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed"),
        MemoryError(),
        RecursionError("x" * 5000),
        KeyError("line one\nline two"),
        SystemExit("a library's own end"),
        BrokenPipeError(32, "Broken pipe"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_whatever_nobody_foresaw_ends_in_two_lines(
    error: BaseException, failing: list[BaseException], own_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(error)
    assert run(["doctor"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"error: unexpected {type(error).__name__}")
    assert len(lines[0]) < 400
    file = Path(re.findall(r"its traceback is in (.*)", lines[1])[0])
    assert file.is_relative_to(own_folders)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"{type(error).__name__}" in file.read_text()


def test_the_traceback_lies_elsewhere_where_the_data_folder_takes_none(
    failing: list[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/dev/null")
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing.append(ZeroDivisionError("division by zero"))
    assert run(["doctor"]) == 2
    (file,) = tmp_path.iterdir()
    assert str(file) in capsys.readouterr().err
    monkeypatch.setattr("tempfile.tempdir", "/dev/null")
    assert run(["doctor"]) == 2
    assert re.search(r"it came from \S+lazy\.py:\d+$", capsys.readouterr().err.strip())


def test_ctrl_c_is_one_line(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(KeyboardInterrupt())
    assert run(["doctor"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_a_second_interrupt_is_ignored_once_the_command_has_ended() -> None:
    script = (
        "import atexit, os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n" + MAIN
    )
    done = shell("$SERVEWATT --version", script)
    assert (done.returncode, done.stderr) == (0, b"")
