"""The one root error: what is wrong, and the next thing to do."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


class ServewattError(Exception):
    """A problem a user can act on.

    The command line prints `message` and `hint` in two lines and exits with 2; a traceback is a bug.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[ServewattError], tuple[str, str]]:
        return (type(self), (self.message, self.hint))


class InputError(ServewattError):
    """What the user asked for cannot be read, found or used."""


class UnavailableError(ServewattError):
    """Something this machine or environment lacks: a package, a device, a permission."""


class RefusedError(ServewattError):
    """What runs is not what the configuration claims, or cannot be measured honestly."""


class StoreError(ServewattError):
    """The results store cannot be opened, read or written."""


_OUT_OF_MEMORY = (
    "memoryerror",
    "outofmemory",
    "out of memory",
    "bad_alloc",
    "failed to allocate memory",
    "can't allocate memory",
    "cannot allocate memory",
)
"""What CUDA, C++, ONNX Runtime, PyTorch's allocator on the CPU and the C library say, in lower case."""


def means_out_of_memory(text: str) -> bool:
    """Whether the text of an exception, whatever library raised it, says that memory ran out."""
    lowered = text.lower()
    return any(sign in lowered for sign in _OUT_OF_MEMORY)


LONGEST_REASON = 2000
"""Characters of a reason or a hint that are kept: enough for any sentence, and nothing that floods a screen."""


def printable(text: str) -> str:
    """`text` with control characters, which a terminal would obey, and lone surrogates written out, such as `\\x1b`.

    Tabs and the ends of lines stay.
    """
    if text.isprintable():
        return text
    return "".join(_written_out(letter) for letter in text)


def _written_out(letter: str) -> str:
    # Cc are the control characters, Cf those that turn the direction of writing, Cs surrogates.
    if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs"):
        return letter
    return letter.encode("unicode_escape").decode()


def brief(text: str) -> str:
    """`text` made printable, and cut after LONGEST_REASON characters with a note of how long it is."""
    shown = printable(text[: LONGEST_REASON + 1])
    if len(shown) <= LONGEST_REASON:
        return shown
    note = f" ... (cut, of {len(text):,} characters)"
    return shown[: LONGEST_REASON - len(note)] + note


def counted(number: int, noun: str) -> str:
    """`number` of what `noun` names: `1 prompt`, `2 prompts`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known words closest to `word`, or all of them when none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"
