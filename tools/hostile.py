"""Hostile command lines: every command and option of servewatt with values that nobody should give, run in process.

`python -m tools.hostile --examples 2000` from the project's root runs so many and prints each that ends in a traceback,
in an exit code that is not documented, or not in time. Nothing is measured, and no network is used.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import click
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from servewatt.cli.main import run
from servewatt.cli.root import command as root
from servewatt.cli.streams import REPLACE

ROOT = Path(__file__).parents[1]
CODES = (0, 1, 2)
UNDECIDED = 3
MAY_BE_UNDECIDED = ("gate", "compare")
LIMIT_S = 15.0

TEXTS = (
    *("", " ", ",", ",,a", "=", "a=", "=b", "a=b", "-", "--", ".", "..", "/", "//", "%s", "{}", "$HOME", "*", "[red]"),
    *("a" * 300, "a" * 100_000, "../" * 2000, "\udcff\udcfe", "caf\udce9.json", "é", "日本", "\U0001f600"),
    *("\u202eabc", "a\nb", "\x1b[31mred", "\x07", "~", "~nobody-of-that-name/x", "None", "null", "True", "[/x]"),
)  # fmt: skip
NUMBERS = (
    *("0", "-0", "1", "-1", "0.5", "inf", "-inf", "nan", "1e400", "1e-400", "1e308", "1e19", "1e7", "0x10", "1_0"),
    *(str(10**30), str(-(10**30)), str(2**63), str(2**31), "9" * 5000, "1,2", "nan,1", "inf,inf", "1e400,1e401"),
    *("\u0663", "1;2", "1.2.3", "1e400GB", "infGB", "-5GB", "5 boxes", "9" * 400 + "TB", "1e400s", "infs", "-1h"),
)  # fmt: skip
NAMES = (
    *("latest", "bundled", "bundled:0", "bundled:-1", "bundled:x", "bundled:" + "9" * 30, "torch", "fake", "all"),
    *("cpu", "cuda", "fp32", "int4", "http", "fake/b0", "fake/b" + "9" * 5000, "fake/t" + "9" * 30, "fake/x=y"),
    *("fake/b1/b2", "a/b", "a/b/c", "owner/name", "sqlite://", "sqlite:///", "sqlite:////dev/null", "sqlite:////proc/x"),
    *("postgresql://a@127.0.0.1:9/x", "http://127.0.0.1:9/", "file:///etc/hostname", "://", "estimate", "rapl:x"),
    *("fake:gpu:0=nan", "fake:x=1e400", "replay:", "replay:/dev/null", "nvml:" + "9" * 30, "step_ms=nan", "fail=x"),
)  # fmt: skip
_WORK = ("--engine", "fake", "--meter", "fake")
SAFE: Mapping[str, tuple[str, ...]] = {
    "run": (*_WORK, "--plan"),
    "study run": (*_WORK, "--plan", "--prompts", "bundled:1", "--models", "tiny-starcoder"),
    "quality": ("--engine", "fake", "--reference", "fake", "--prompts", "bundled:1", "--new-tokens", "1",
                "--documents", "2", "--text-tokens", "8"),
    "models prepare": ("--engine", "fake"),
    "engines doctor": ("fake",),
}  # fmt: skip
"""What keeps a command from measuring, downloading or loading an engine."""
NEVER = {"engines add": {"--rebuild"}, "quality": {"--weights"}, "models prepare": {"--weights"},
         "compare": {"--base", "--head"}}  # fmt: skip
"""Options that are not tried: they would build, or draw weights with PyTorch for longer than a command may take."""


@dataclass(frozen=True)
class Fault:
    """A command line that did not end as documented."""

    arguments: tuple[str, ...]
    what: str

    def __str__(self) -> str:
        line = shlex.join(self.arguments).encode(errors="backslashreplace").decode()
        return f"servewatt {line[:500]}\n  {self.what}"


def make_places(folder: Path) -> list[str]:
    """Paths to what should not be read or written, made in `folder`: devices, pipes, folders, damaged files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _contents().items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "folder.json").mkdir()
    (folder / "folder" / "caf\udce9.py").write_bytes(b"print('caf\xe9')\n" * 50)
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "folder" / "pipe.py")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "unreadable").write_text("secret")
    (folder / "unreadable").chmod(0)
    made = [str(path) for path in sorted(folder.iterdir())]
    other = ("missing", "missing/x.json", "unreadable/x", f"{'n' * 300}.json", "a\x1b[2J.json")
    return made + [str(folder / name) for name in other] + ["/dev/null", "/dev/full", "/proc/self/mem", "/dev/stdout/x"]


def _contents() -> dict[str, bytes]:
    run_text = gzip.decompress((ROOT / "examples" / "h200-bundled.json.gz").read_bytes())
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    odd_times = "procedure: {settle_s: .inf, idle_s: .nan, window_s: 1e400, timeout_s: 10000000, blocks: 99999999999}"
    found = {
        "empty": b"",
        "binary": bytes(range(256)) * 8,
        "nul.txt": b"\0" * 4096,
        "latin.txt": "caf\u00e9 := 1\n".encode("latin-1") * 40,
        "nested.json": b"[" * 200_000,
        "nested.yaml": b"{a: " * 5_000,
        "objects.json": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "bomb.yaml": bomb.encode(),
        "odd-times.yaml": odd_times.encode(),
        "dates.yaml": b"model: {name: 2024-01-01}\nconfigurations: {engines: [on]}\nwork: {limit: 9999999999999999}",
        "keys.yaml": b"model: {1: 2, null: 3, [a]: b}\n",
        "tag.yaml": b"!!python/object/apply:os.system [true]\n",
        "recursive.yaml": b"configurations: &a {options: *a}\n",
        "text.yaml": b"model: {name: '\\ud800'}\nworkload: {prompts: \"\\x00\"}\n",
        "numbers.json": b'{"a": NaN, "b": 1e999, "c": ' + b"9" * 5000 + b"}",
        "lines.jsonl": b'{"prompt": "\\ud800"}\n{"prompt": 3}\n[]\n\n{"prompt": "a", "test": 1, "entry_point": []}\n',
        "table.csv": b'a,b\n"1,2\n\x00,3\n' + b"x" * 200_000 + b",1\n",
        "good.csv": b"g,v\na,1\na,nan\nb,inf\nb,1e400\n",
        "cut.json.gz": gzip.compress(run_text)[:-500],
        "garbage.json.gz": b"\x1f\x8b\x08\x00" + bytes(range(200)),
        "not-a-database.db": b"SQLite format 3\0" + b"\xff" * 4096,
        "results.parquet": b"PAR1" + b"\xff" * 400 + b"PAR1",
    }
    found["baseline-list.json"] = b'{"format": "servewatt-baseline", "format_version": [], "configurations": 1}'
    found["baseline-huge.json"] = b'{"format": "servewatt-baseline", "format_version": ' + b"9" * 4000 + b"}"
    return found | {f"run-{n}.json": text for n, text in enumerate(_damaged(run_text.splitlines()))}


def _damaged(lines: list[bytes]) -> Iterator[bytes]:
    """An exported run with one of its values replaced, a different one each time."""
    values: tuple[object, ...] = (
        *(None, -1, 10**400, float("nan"), float("inf"), "", "\ud800", "x" * 100_000, [], {}, True),
    )
    number = 0
    for line in range(min(3, len(lines))):
        document = json.loads(lines[line])
        places = list(_value_places(document))
        for place in places[:: max(1, len(places) // 20)]:
            parent = copy = json.loads(lines[line])
            for key in place[:-1]:
                parent = parent[key]
            parent[place[-1]] = values[number % len(values)]
            number += 1
            yield b"\n".join([*lines[:line], json.dumps(copy).encode(), *lines[line + 1 :]])


def _value_places(value: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of each value, lists by their first entry."""
    if place:
        yield place
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _value_places(part, (*place, key))
    elif isinstance(value, list) and value:
        yield from _value_places(value[0], (*place, 0))


def leaves(group: click.Command = root, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words; groups that do something by themselves are among them."""
    if not isinstance(group, click.Group):
        yield name, group
        return
    if group.invoke_without_command:
        yield name, group
    context = click.Context(group)
    for word in group.list_commands(context):
        found = group.get_command(context, word)
        assert found is not None
        yield from leaves(found, f"{name} {word}".strip())


def command_lines(places: list[str]) -> st.SearchStrategy[list[str]]:
    """Command lines with one to three hostile words in place of an argument or an option's value."""
    return st.sampled_from(list(leaves())).flatmap(lambda leaf: _of_command(leaf[0], leaf[1], places))


def _of_command(name: str, command: click.Command, places: list[str]) -> st.SearchStrategy[list[str]]:
    word = st.one_of(*map(st.sampled_from, (TEXTS, NUMBERS, NAMES, places)), st.text(max_size=12).filter(_may_be_given))
    parts: list[st.SearchStrategy[list[str]]] = [word.map(lambda text: [f"--{text}"])]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            parts.append(word.map(lambda text: [text]))
        elif isinstance(parameter, click.Option) and not set(parameter.opts) & NEVER.get(name, set()):
            parts.append(_of_option(max(parameter.opts, key=len), parameter, word))
    # Mostly one at a time, so that the first that is refused does not hide the next.
    chosen = st.one_of(*(st.lists(st.one_of(parts), min_size=1, max_size=most) for most in (1, 1, 3)))
    fixed = [*name.split(), *SAFE.get(name, ())]
    return chosen.map(lambda found: fixed + [text for part in found for text in part])


def _of_option(flag: str, option: click.Option, word: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    if option.is_flag:
        return st.just([flag])
    if isinstance(option.type, click.Choice):
        word = st.one_of(word, st.sampled_from([str(choice) for choice in option.type.choices]))
    return word.map(lambda text: [flag, text])


def _may_be_given(text: str) -> bool:
    """No NUL, which no command line can hold."""
    return "\0" not in text


class _TooLateError(BaseException):
    pass


def fault_of(arguments: list[str], *, encoding: str = "utf-8", limit_s: float = LIMIT_S) -> Fault | None:
    """Run a command line in this process, in the current folder; what is wrong with how it ended."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, errors=REPLACE, write_through=True) for _ in range(2))

    def too_late(_number: int, _frame: object) -> None:
        raise _TooLateError

    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    begin_s = time.monotonic()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(arguments)
    except _TooLateError:
        return Fault(tuple(arguments), f"more than {limit_s:g} s")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    told = err.buffer.getvalue().decode(encoding, "replace") if isinstance(err.buffer, io.BytesIO) else ""
    if time.monotonic() - begin_s > limit_s or "_TooLateError" in told:
        return Fault(tuple(arguments), f"more than {limit_s:g} s")
    if "error: unexpected " in told or "Traceback" in told:
        return Fault(tuple(arguments), told[-1500:].strip())
    documented = (*CODES, UNDECIDED) if arguments[0] in MAY_BE_UNDECIDED else CODES
    return None if code in documented else Fault(tuple(arguments), f"exit code {code}: {told[-300:].strip()}")


@contextlib.contextmanager
def isolated(folder: Path) -> Iterator[None]:
    """Everything that a command keeps or fetches is in `folder`, its network is none, and it looks at no hardware."""
    home = folder / "home"
    variables = {"HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    variables |= {n: str(home / n.lower()) for n in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "HF_HOME")}
    here = folder / "here"
    here.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, variables))
        for module in ("experiment.machine", "harness.fitness"):
            name = f"servewatt.{module}.memory_bandwidth_bytes_s"
            stack.enter_context(mock.patch(name, lambda *_args, **_options: 10e9))
        stack.enter_context(contextlib.chdir(here))
        yield


def main() -> int:
    """Run as many as are asked for; 1 if any did not end as documented."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seed", type=int, help="the same command lines every time; default: others each time")
    asked = parser.parse_args()
    faults = run_examples(asked.examples, asked.seed)
    for fault in faults:
        print(fault)
    print(f"{asked.examples} command lines, {len(faults)} faults")
    return 1 if faults else 0


def run_examples(examples: int, seed_: int | None = None) -> list[Fault]:
    """What went wrong in so many command lines, each kind of message once.

    Libraries keep what they read of `isolated` when they were imported, so this wants a process of its own.
    """
    faults: dict[str, Fault] = {}
    with tempfile.TemporaryDirectory() as name, isolated(Path(name)):
        places = make_places(Path(name) / "places")

        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(command_lines(places), st.sampled_from(["utf-8", "ascii", "latin-1"]))
        def one(arguments: list[str], encoding: str) -> None:
            fault = fault_of(arguments, encoding=encoding)
            if fault is not None:
                faults.setdefault(fault.what.partition("\n")[0][:120], fault)

        (one if seed_ is None else seed(seed_)(one))()
    return list(faults.values())


if __name__ == "__main__":
    sys.exit(main())
