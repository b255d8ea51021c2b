"""The study's prompts as a file: read, drawn, and beside it how they were made."""

from __future__ import annotations

import hashlib
import re
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from servewatt import wire
from servewatt.errors import InputError, UnavailableError
from servewatt.input_files import is_there, read_bytes, shown
from servewatt.models.digest import FileDigests, combined
from servewatt.models.hub_files import fetch_table, find_tokenizer
from servewatt.models.tokenizer import Tokenizer, load_alone, tokenizer_files
from servewatt.study.protocol.prompts import (
    HUMANEVAL,
    HUMANEVAL_REVISION,
    PromptsRecord,
    Recipe,
    Rule,
    Source,
    differences,
    draw_line,
)
from servewatt.version import __version__
from servewatt.workloads.prompts import Problem, problem_lines, problems_in

DEFAULT_TOKENS = "10-15"

REPLACE_HINT = "name another file with --out, or replace it with --force"


@dataclass(frozen=True)
class Asked:
    """What the user asked for; None where nothing was said."""

    rule: str
    source: Path | None
    revision: str | None
    tokenizer: str
    tokens: str | None
    seed: int | None
    limit: int | None


def prepare(asked: Asked) -> tuple[Recipe, list[Problem], Tokenizer]:
    """What decides the prompts, and what they are made of. Everything is read and checked here."""
    rule = Rule(asked.rule)
    if rule is Rule.WHOLE and (asked.tokens or asked.seed is not None):
        raise InputError("whole prompts are neither cut nor drawn", "leave out --tokens and --seed, or use --rule line")
    span = _parse_tokens(asked.tokens or DEFAULT_TOKENS)
    found = find_tokenizer(asked.tokenizer)
    tokenizer = load_alone(found.folder)
    source, problems = _read_source(asked)
    recipe = Recipe(
        rule=rule,
        source=source,
        limit=asked.limit,
        tokenizer=asked.tokenizer if found.commit or asked.tokenizer == "bundled" else found.folder.resolve().name,
        tokenizer_sha256=combined(tokenizer_files(found.folder), FileDigests(None)),
        tokenizer_commit=found.commit,
    )
    if rule is Rule.LINE:
        recipe = replace(recipe, seed=asked.seed or 0, least_tokens=span[0], most_tokens=span[1])
    return recipe, problems[: asked.limit], tokenizer


def make(recipe: Recipe, problems: list[Problem], tokenizer: Tokenizer) -> tuple[str, PromptsRecord]:
    """The text of the file, and the record of how it was made."""
    made = _apply(recipe, problems, tokenizer)
    text = problem_lines(made)
    return text, _describe(recipe, problems, made, tokenizer, text)


def _parse_tokens(text: str) -> tuple[int, int]:
    """`10-15` or `12` as least and most."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", text)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise InputError(f"--tokens {text[:60]!r} is no range", f"write it like {DEFAULT_TOKENS} or 12")
    return least, most


def _read_source(asked: Asked) -> tuple[Source, list[Problem]]:
    """The problems, from the file given or from the hub."""
    if asked.source is not None:
        if asked.revision:
            raise InputError("a file has no revisions; --revision is for the hub", "leave out --revision")
        path, name, commit = asked.source, shown(asked.source.name), ""
    else:
        try:
            path, commit = fetch_table(HUMANEVAL, asked.revision or HUMANEVAL_REVISION)
        except UnavailableError as error:
            error.hint = "connect once to download it, or give the file: --source HumanEval.jsonl.gz"
            raise
        name = HUMANEVAL
    content = read_bytes(path, "--source is HumanEval as .jsonl, .jsonl.gz, a JSON array or .parquet")
    problems = problems_in(content, path)
    if not problems:
        raise InputError(f"{shown(path.name)} has no problems", "each line is a JSON object in HumanEval's format")
    return Source(name, hashlib.sha256(content).hexdigest(), commit), problems


def _apply(recipe: Recipe, problems: list[Problem], tokenizer: Tokenizer) -> list[Problem]:
    """The problems with the prompts that the recipe makes of them."""
    if recipe.seed is None or recipe.least_tokens is None or recipe.most_tokens is None:
        return problems
    seed, least, most = recipe.seed, recipe.least_tokens, recipe.most_tokens
    return [
        replace(p, prompt=draw_line(p.task_id, p.prompt, tokenizer.spans, seed=seed, least=least, most=most))
        for p in problems
    ]


def _describe(
    recipe: Recipe, problems: list[Problem], made: list[Problem], tokenizer: Tokenizer, text: str
) -> PromptsRecord:
    """The record of prompts that were made."""
    lengths = [len(tokenizer.spans(problem.prompt)) for problem in made]
    whole = [
        cut.prompt == task.prompt or cut.prompt in task.prompt.split("\n")
        for cut, task in zip(made, problems, strict=True)
    ]
    return PromptsRecord(
        recipe=recipe,
        prompts=len(made),
        shortest_tokens=min(lengths),
        median_tokens=statistics.median(lengths),
        longest_tokens=max(lengths),
        uncut=sum(whole),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        servewatt_version=__version__,
    )


def record_path(path: Path) -> Path:
    """Where it is written how a file of prompts was made."""
    return path.with_name(f"{path.name}.meta.json")


def find_made(path: Path, recipe: Recipe) -> PromptsRecord | None:
    """The record of `path` if it was made by `recipe` and is unchanged; None if there is no such file.

    Raises InputError if the file is there and is not that.
    """
    if not is_there(path):
        return None
    try:
        record = wire.load(PromptsRecord, read_bytes(record_path(path), REPLACE_HINT))
    except InputError as error:
        raise InputError(f"{path} is there, and nothing says how it was made", REPLACE_HINT) from error
    if unlike := differences(record.recipe, recipe):
        raise InputError(f"{path} is there and was made otherwise ({'; '.join(unlike)})", REPLACE_HINT)
    if hashlib.sha256(read_bytes(path, REPLACE_HINT)).hexdigest() != record.sha256:
        raise InputError(f"{path} was changed since it was made", REPLACE_HINT)
    return record
