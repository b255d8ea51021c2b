"""Where prompts come from: the bundled problems, a text file, or problems in HumanEval's format."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from servewatt.errors import InputError, UnavailableError

BUNDLED = "bundled"
BUNDLED_PROBLEMS = Path(__file__).parent / BUNDLED / "problems.jsonl"
"""Small Python functions with unit tests, written for servewatt."""

_JSON_LINES = (".jsonl", ".jsonl.gz", ".ndjson")
_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
_ROW_HINT = f"each line is a JSON object with {', '.join(_FIELDS)}"
_PARQUET = ".parquet"
_FORMS = "give bundled, bundled:N, a text file with one prompt a line, or a .jsonl file in HumanEval's format"


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
    """The prompts of `source`: `bundled`, `bundled:N` (the first N), a text file or a JSON Lines file.

    `sample` draws that many without replacement, by `seed`, and keeps their order. A text file gives one prompt a
    line, blank lines aside; spaces at a line's start are part of the prompt.
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
        path = Path(source).expanduser()
        if path.is_dir():
            raise InputError(f"{source} is a folder", _FORMS)
        if not path.exists():
            raise InputError(f"no file {source}", _FORMS)
        if path.name.lower().endswith(_JSON_LINES):
            prompts = _from_problems(read_problems(path), path.name)
        else:
            prompts = PromptSet(path.name, tuple(line for line in _lines(path) if line.strip()))
    if not prompts.texts:
        raise InputError(f"{source} has no prompts", "put one prompt on each line")
    if sample is None:
        return prompts
    if not 1 <= sample <= len(prompts.texts):
        raise InputError(f"cannot draw {sample} of {len(prompts.texts)} prompts of {source}", "draw fewer")
    drawn = sorted(random.Random(seed).sample(range(len(prompts.texts)), sample))
    return _pick(prompts, f"{prompts.name} (sample of {sample}, seed {seed})", drawn)


def _count(text: str, source: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{source}: {text!r} is no number of prompts", f"write {BUNDLED}:20 for the first twenty")
    return int(text)


def _pick(prompts: PromptSet, name: str, which: range | list[int]) -> PromptSet:
    problems = tuple(prompts.problems[i] for i in which) if prompts.problems else ()
    return PromptSet(name, tuple(prompts.texts[i] for i in which), problems)


def _from_problems(problems: list[Problem], name: str) -> PromptSet:
    return PromptSet(name, tuple(problem.prompt for problem in problems), tuple(problems))


def _lines(path: Path) -> list[str]:
    """Lines of a UTF-8 file without their ends; a byte order mark is dropped."""
    try:
        raw = path.read_bytes()
        if path.suffix.lower() == ".gz":
            raw = gzip.decompress(raw)
    except (OSError, EOFError) as error:
        raise InputError(f"cannot read {path}: {error}", _FORMS) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line} is not UTF-8", "convert it, for example with iconv -t UTF-8") from error
    return [line.removesuffix("\r") for line in text.split("\n")]


def read_problems(path: Path) -> list[Problem]:
    """The problems of a file in HumanEval's format: JSON Lines, compressed or not, or the hub's Parquet.

    Raises InputError if the file cannot be read, or has a problem twice, and UnavailableError without pyarrow.
    """
    rows = _parquet_rows(path) if path.name.lower().endswith(_PARQUET) else _json_rows(path)
    problems: list[Problem] = []
    seen: set[str] = set()
    for where, fields in rows:
        problem = _problem(fields, where)
        if problem.task_id in seen:
            raise InputError(f"{where}: {problem.task_id} is there twice", "give each its own task_id")
        seen.add(problem.task_id)
        problems.append(problem)
    return problems


def problem_lines(problems: Iterable[Problem]) -> str:
    """The problems as JSON Lines, in HumanEval's format."""
    return "".join(json.dumps(asdict(problem), ensure_ascii=False) + "\n" for problem in problems)


def _json_rows(path: Path) -> Iterable[tuple[str, Any]]:
    for number, line in enumerate(_lines(path), 1):
        where = f"{path.name}, line {number}"
        if line.strip():
            try:
                yield where, json.loads(line)
            except ValueError as error:
                raise InputError(f"{where}: not JSON: {error}", _ROW_HINT) from error


def _parquet_rows(path: Path) -> Iterable[tuple[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UnavailableError(
            f"{path.name} is a Parquet file: {error}", "pip install 'servewatt[study]', or give a .jsonl file"
        ) from error
    try:
        rows: list[Any] = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"cannot read {path}: {reason}", "get the file again, or give a .jsonl file") from error
    return [(f"{path.name}, row {number}", row) for number, row in enumerate(rows, 1)]


def _problem(fields: Any, where: str) -> Problem:
    hint = _ROW_HINT
    if not isinstance(fields, dict):
        raise InputError(f"{where}: not a JSON object", hint)
    for name in _FIELDS:
        if not isinstance(fields.get(name), str):
            raise InputError(f"{where}: no text for {name}", hint)
    if not fields["prompt"].strip():
        raise InputError(f"{where}: the prompt is empty", hint)
    return Problem(**{name: fields[name] for name in _FIELDS})
