"""Where prompts come from: the bundled problems, a text file, or problems in HumanEval's format."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from servewatt.errors import InputError
from servewatt.input_files import check_characters, expand, shown, unpack
from servewatt.workloads.rows import Row, read_rows, rows_in

BUNDLED = "bundled"
BUNDLED_PROBLEMS = Path(__file__).parent / BUNDLED / "problems.jsonl"
"""Small Python functions with unit tests, written for servewatt."""

_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
_PROMPT = "prompt"
_ROW_HINT = f"each line is a JSON object with {', '.join(_FIELDS)}"
_OTHER_NAMES = ("text", "question", "instruction", "input", "content")
"""Names that other data sets use for the text closest to a prompt."""
_TABLES = (".csv", ".tsv")
_FORMS = "give bundled, bundled:N, a text file with one prompt a line, or problems in HumanEval's format (JSON)"


@dataclass(frozen=True)
class Problem:
    """A programming problem in HumanEval's format."""

    task_id: str
    prompt: str
    """Imports, signature and docstring; the answer continues it."""
    entry_point: str
    """Name of the function."""
    canonical_solution: str
    test: str
    """Source that defines `check(candidate)`."""


@dataclass(frozen=True)
class PromptSet:
    """Texts to be continued, in order."""

    name: str
    texts: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    """The problem of each text where the source has any; empty otherwise."""


def read(source: str, *, sample: int | None = None, seed: int = 0) -> PromptSet:
    """The prompts of `source`: `bundled`, `bundled:N` (the first N), or a file, whose content decides how it is read.

    JSON (objects line by line, or an array) and Parquet give problems where every row has all of HumanEval's fields,
    else the texts of `prompt`; an array of texts is taken too. Any other text gives one prompt a line, blank lines
    aside; spaces at a line's start are part of the prompt. `sample` draws that many without replacement, by `seed`,
    and keeps their order.
    Raises InputError if the source cannot be read or has no prompts.
    """
    word, _, count = source.partition(":")
    if word == BUNDLED:
        first = _count(count, source) if ":" in source else None
        prompts = _from_problems(read_problems(BUNDLED_PROBLEMS), source)
        if first is not None:
            if first > len(prompts.texts):
                raise InputError(f"{source}: there are {len(prompts.texts)} bundled problems", f"ask for {BUNDLED}")
            prompts = _pick(prompts, source, range(first))
    else:
        prompts = _from_file(expand(source))
    if not prompts.texts:
        raise InputError(f"{shown(source)} has no prompts", "put one prompt on each line")
    if sample is None:
        return prompts
    if not 1 <= sample <= len(prompts.texts):
        raise InputError(f"cannot draw {sample} of {len(prompts.texts)} prompts of {source}", "draw fewer")
    drawn = sorted(random.Random(seed).sample(range(len(prompts.texts)), sample))
    return _pick(prompts, f"{prompts.name} (sample of {sample}, seed {seed})", drawn)


def _count(text: str, source: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < 1:
        raise InputError(f"{source}: {text!r} is no number of prompts", f"write {BUNDLED}:20 for the first twenty")
    return int(text)


def _pick(prompts: PromptSet, name: str, which: range | list[int]) -> PromptSet:
    problems = tuple(prompts.problems[i] for i in which) if prompts.problems else ()
    return PromptSet(name, tuple(prompts.texts[i] for i in which), problems)


def _from_problems(problems: list[Problem], name: str) -> PromptSet:
    return PromptSet(name, tuple(problem.prompt for problem in problems), tuple(problems))


def _from_file(path: Path) -> PromptSet:
    # The shell calls the pipe of `<(command)` by a number.
    name = f"pipe {path.name}" if path.name.isdecimal() and path.parent.name == "fd" else shown(path.name)
    if path.suffix.lower() in _TABLES:
        raise InputError(f"{name} would be read as one prompt a line", 'write JSON Lines: {"prompt": "def f("} a line')
    rows = read_rows(path, _FORMS)
    if isinstance(rows, str):
        return PromptSet(name, tuple(line for line in _lines(rows) if line.strip()))
    if not rows or _is_problem(rows[0].value):
        return _from_problems(_problems(rows), name)
    return PromptSet(name, tuple(_prompt(row) for row in rows))


def _lines(text: str) -> list[str]:
    """Lines without their ends, which may be those of Unix, Windows or the old Mac."""
    if "\n" not in text:
        return text.split("\r")
    return [line.removesuffix("\r") for line in text.split("\n")]


def read_problems(path: Path) -> list[Problem]:
    """The problems of a file in HumanEval's format: JSON Lines or an array, compressed or not, or the hub's Parquet.

    Raises InputError if the file cannot be read, or has a problem twice, and UnavailableError without pyarrow.
    """
    return _all_problems(read_rows(path, _ROW_HINT), path)


def problems_in(content: bytes, path: Path) -> list[Problem]:
    """As `read_problems`, from bytes that were read from `path`."""
    return _all_problems(rows_in(unpack(content, path), path), path)


def _all_problems(rows: list[Row] | str, path: Path) -> list[Problem]:
    if isinstance(rows, str):
        if not rows.strip():
            return []
        raise InputError(f"{shown(path.name)} holds no JSON objects", _ROW_HINT)
    return _problems(rows)


def _problems(rows: Iterable[Row]) -> list[Problem]:
    problems: list[Problem] = []
    seen: set[str] = set()
    for row in rows:
        problem = _problem(row)
        if problem.task_id in seen:
            raise InputError(f"{row.where}: {problem.task_id} is there twice", "give each its own task_id")
        seen.add(problem.task_id)
        problems.append(problem)
    return problems


def problem_lines(problems: Iterable[Problem]) -> str:
    """The problems as JSON Lines, in HumanEval's format."""
    return "".join(json.dumps(asdict(problem), ensure_ascii=False) + "\n" for problem in problems)


def _is_problem(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in _FIELDS)


def _problem(row: Row) -> Problem:
    fields = row.value
    if not isinstance(fields, dict):
        raise InputError(f"{row.where}: not a JSON object", _ROW_HINT)
    for name in _FIELDS:
        if not isinstance(fields.get(name), str):
            raise InputError(f"{row.where}: no text for {name}", _ROW_HINT)
        check_characters(fields[name], f"{row.where}: {name}")
    _prompt(row)
    return Problem(**{name: fields[name] for name in _FIELDS})


def _prompt(row: Row) -> str:
    """The text that is to be continued: `prompt` of an object, or the value itself."""
    text = row.value.get(_PROMPT) if isinstance(row.value, dict) else row.value
    if not isinstance(text, str):
        if not isinstance(row.value, dict):
            raise InputError(f"{row.where}: not a JSON object", f"each is an object with a {_PROMPT}, or a text")
        raise InputError(
            f"{row.where}: no text for {_PROMPT}; it has {_listed(row.value)}",
            f"call the text that is to be continued {_PROMPT!r}, such as jq -c '{{prompt: .{_likely(row.value)}}}'",
        )
    if not text.strip():
        raise InputError(f"{row.where}: the prompt is empty", "remove it, or write one")
    check_characters(text, f"{row.where}: the prompt")
    return text


def _listed(fields: dict[str, Any]) -> str:
    names = [ascii(name)[1:-1][:40] for name in list(fields)[:12]]
    return ", ".join(names) + (" ..." if len(fields) > len(names) else "") if names else "no fields"


def _likely(fields: dict[str, Any]) -> str:
    return next((name for name in _OTHER_NAMES if isinstance(fields.get(name), str)), "NAME")
