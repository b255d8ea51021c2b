"""The two processes of an examination: one runs the tests, the other the answer. Neither can see into the other.

`python -I -B -c SOURCE examine CALLS RESULTS VERDICT` and `... answer CALLS RESULTS`, with file descriptors as numbers
and an order as JSON on standard input; it imports nothing but the standard library. The tests call the answer's
function through a pipe, so an answer knows neither what is expected nor the word that means "passed", and returns data
of Python's own types, never objects that claim to equal everything.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import io
import itertools
import json
import os
import pickle
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

CPU_S = 5
MEMORY_BYTES = 2**30
FILE_BYTES = 2**20
OPEN_FILES = 64
_MOST_MESSAGE_BYTES = 2**24
_MOST_ITEMS = 100_000
"""Of an iterator that an answer returns."""
_PR_SET_DUMPABLE = 4
_TYPES = {
    "builtins": {"set", "frozenset", "complex", "bytearray", "range"},
    "collections": {"OrderedDict", "Counter", "deque", "defaultdict"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
}
"""Types that an answer may return, besides numbers, text, bytes, lists, tuples and dicts."""


class AnswerFailedError(BaseException):
    """The answer's process has ended or sent a forbidden message. Tests that expect exceptions must not catch it."""


class _DataOnly(pickle.Unpickler):
    """Reads plain data; other pickled objects are refused, as building them can run code."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _TYPES.get(module, ()):
            return super().find_class(module, name)
        raise AnswerFailedError(f"the answer returned a {module}.{name}")


class Channel:
    """Messages over a pair of pipes: four bytes of length, then a pickle."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._from = os.fdopen(read_fd, "rb")
        self._to = os.fdopen(write_fd, "wb", buffering=0)

    def send(self, message: object) -> None:
        content = pickle.dumps(message)
        self._to.write(struct.pack("!I", len(content)) + content)

    def receive(self) -> Any:
        """The next message; EOFError where there is none."""
        head = self._from.read(4)
        if len(head) < 4:
            raise EOFError
        size: int = struct.unpack("!I", head)[0]
        if size > _MOST_MESSAGE_BYTES:
            raise AnswerFailedError("the answer returned too much")
        return _DataOnly(io.BytesIO(self._from.read(size))).load()


def hide() -> None:
    """Keep other processes of the user from this one's memory and files, where no sandbox does. Not from root's."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def limit() -> None:
    """Limit the resources of this process and its children."""
    for kind, most in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))


def answer(order: dict[str, str], channel: Channel) -> None:
    """Define the answer's function, then call it as often as asked."""
    names: dict[str, Any] = {"__name__": "answer"}
    exec(compile(order["program"], "answer", "exec"), names)
    function = names[order["entry_point"]]
    with contextlib.suppress(EOFError):
        while True:
            arguments, named = channel.receive()
            channel.send(_called(function, arguments, named))


def _called(function: Callable[..., Any], arguments: list[Any], named: dict[str, Any]) -> tuple[Any, ...]:
    try:
        result = function(*arguments, **named)
        if isinstance(result, Iterator):
            message = ("iterator", list(itertools.islice(result, _MOST_ITEMS)), arguments)
        else:
            message = ("returned", result, arguments)
        pickle.dumps(message)
    except Exception as error:  # noqa: BLE001  (what it raises is its answer)
        return ("raised", type(error).__name__, str(error))
    return message


def examine(order: dict[str, str], channel: Channel, verdict_fd: int) -> None:
    """Run the tests on the answer's function; the verdict, where they pass, is the order's word."""

    def candidate(*arguments: Any, **named: Any) -> Any:
        try:
            channel.send((list(arguments), named))
            message = channel.receive()
            kind, value, after = message
        except (EOFError, OSError, ValueError, TypeError, pickle.UnpicklingError) as error:
            raise AnswerFailedError("the answer's process has ended, or does not answer") from error
        if kind == "raised":
            raised = getattr(builtins, str(value), None)
            if isinstance(raised, type) and issubclass(raised, Exception):
                raise raised(after)
            raise Exception(f"{value}: {after}")
        for before, changed in zip(arguments, after, strict=False):
            _change(before, changed)
        return iter(value) if kind == "iterator" else value

    names: dict[str, Any] = {"__name__": "tests"}
    # What the problem itself defines, such as a function that its tests use as well.
    for text in (order["prompt"], f"{order['prompt']}\n    pass\n"):
        try:
            exec(compile(text, "prompt", "exec"), names)
            break
        except SyntaxError:
            continue
    names[order["entry_point"]] = candidate
    exec(compile(order["test"], "test", "exec"), names)
    names["check"](candidate)
    os.write(verdict_fd, order["word"].encode())


def _change(before: Any, after: Any) -> None:
    """Apply to an argument the changes that the answer made to its copy."""
    if type(before) is not type(after) or before == after:
        return
    if isinstance(before, list):
        before[:] = after
    elif isinstance(before, dict | set):
        before.clear()
        before.update(after)


def main(arguments: list[str]) -> None:
    """See the module."""
    role, (calls_fd, results_fd, *verdict_fd) = arguments[0], map(int, arguments[1:])
    hide()
    order = json.load(sys.stdin)
    limit()
    if role == "answer":
        answer(order, Channel(calls_fd, results_fd))
    else:
        examine(order, Channel(results_fd, calls_fd), *verdict_fd)


if __name__ == "__main__":
    main(sys.argv[1:])
