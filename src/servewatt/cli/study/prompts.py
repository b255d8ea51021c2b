"""`servewatt study prompts`: HumanEval's tasks as prompts, by the study's rule or whole."""

from __future__ import annotations

import hashlib
import re
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from servewatt.cli.options import FILE, json_option
from servewatt.errors import InputError, UnavailableError, counted

if TYPE_CHECKING:
    from servewatt.models.tokenizer import Tokenizer
    from servewatt.study.protocol.prompts import PromptsRecord, Recipe, Source
    from servewatt.workloads.prompts import Problem

EXAMPLES = """\b
Examples:
  servewatt study prompts
  servewatt study prompts --source HumanEval.jsonl.gz --seed 1 --out lines.jsonl
  servewatt study prompts --rule whole --limit 20
  servewatt study prompts --tokenizer Salesforce/codet5-base --tokens 9-14
  servewatt run --model pythia-410m --prompts humaneval-line.jsonl
"""

DEFAULT_TOKENS = "10-15"


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


@click.command("prompts", epilog=EXAMPLES)
@click.option("--rule", type=click.Choice(["line", "whole"]), default="line", show_default=True, help="What is kept.")
@click.option("--source", type=FILE, help="HumanEval as .jsonl, .jsonl.gz or .parquet.  [default: from the hub]")
@click.option("--revision", metavar="COMMIT", help="Revision of the hub's data set.  [default: a pinned commit]")
@click.option("--tokenizer", default="bundled", show_default=True, help="What counts tokens: a folder, hub id or name.")
@click.option("--tokens", metavar="LEAST-MOST", help=f"Tokens of a line that are kept.  [default: {DEFAULT_TOKENS}]")
@click.option(
    "--seed", type=click.IntRange(-(2**63), 2**63 - 1), metavar="N", help="Seed of lines and lengths.  [default: 0]"
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Use the first N tasks.")
@click.option("--out", type=FILE, help="Write to this file.  [default: humaneval-RULE.jsonl]")
@click.option("--force", is_flag=True, help="Replace a file that was made otherwise.")
@json_option
def command(out: Path | None, force: bool, as_json: bool, **options: object) -> None:
    """Make the study's prompts from HumanEval.

    Rule `line` is the study's: of each task one random line, cut to its first 10 to 15 tokens, both drawn by --seed.
    Rule `whole` keeps the prompts as they are, as users send them. How they were made is written beside them, to
    FILE.meta.json; the same command again finds that and does nothing.
    """
    from servewatt.cli.study.outputs import pretty, write_text
    from servewatt.workloads.prompts import problem_lines

    asked = Asked(**options)  # type: ignore[arg-type]
    path = out or Path(f"humaneval-{asked.rule}.jsonl")
    if path.suffix.lower() != ".jsonl":
        raise InputError(f"{path} would be read as one prompt a line", "name it .jsonl")
    recipe, problems, tokenizer = prepare(asked)
    record = None if force else find_made(path, recipe)
    if record is None:
        made = apply(recipe, problems, tokenizer)
        text = problem_lines(made)
        record = describe(recipe, problems, made, tokenizer, text)
        write_text(path, text)
        write_text(record_path(path), pretty(record))
        click.echo(f"wrote {path} and {record_path(path)}", err=True)
    else:
        click.echo(f"{path} is made already: nothing to do", err=True)
    show(record, path, as_json=as_json)


def prepare(asked: Asked) -> tuple[Recipe, list[Problem], Tokenizer]:
    """What decides the prompts, and what they are made of. Everything is read and checked here."""
    from servewatt.models.digest import FileDigests, combined
    from servewatt.models.hub_files import find_tokenizer
    from servewatt.models.tokenizer import load_alone, tokenizer_files
    from servewatt.study.protocol.prompts import Recipe, Rule

    rule = Rule(asked.rule)
    if rule is Rule.WHOLE and (asked.tokens or asked.seed is not None):
        raise InputError("whole prompts are neither cut nor drawn", "leave out --tokens and --seed, or use --rule line")
    span = parse_tokens(asked.tokens or DEFAULT_TOKENS)
    found = find_tokenizer(asked.tokenizer)
    tokenizer = load_alone(found.folder)
    source, problems = read_source(asked)
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


def parse_tokens(text: str) -> tuple[int, int]:
    """`10-15` or `12` as least and most."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", text)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise InputError(f"--tokens {text[:60]!r} is no range", f"write it like {DEFAULT_TOKENS} or 12")
    return least, most


def read_source(asked: Asked) -> tuple[Source, list[Problem]]:
    """The problems, from the file given or from the hub."""
    from servewatt.input_files import read_bytes, shown
    from servewatt.models.hub_files import fetch_table
    from servewatt.study.protocol.prompts import HUMANEVAL, HUMANEVAL_REVISION, Source
    from servewatt.workloads.prompts import problems_in

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


def apply(recipe: Recipe, problems: list[Problem], tokenizer: Tokenizer) -> list[Problem]:
    """The problems with the prompts that the recipe makes of them."""
    from servewatt.study.protocol.prompts import draw_line

    if recipe.seed is None or recipe.least_tokens is None or recipe.most_tokens is None:
        return problems
    seed, least, most = recipe.seed, recipe.least_tokens, recipe.most_tokens
    return [
        replace(p, prompt=draw_line(p.task_id, p.prompt, tokenizer.spans, seed=seed, least=least, most=most))
        for p in problems
    ]


def describe(
    recipe: Recipe, problems: list[Problem], made: list[Problem], tokenizer: Tokenizer, text: str
) -> PromptsRecord:
    """The record of prompts that were made."""
    from servewatt import __version__
    from servewatt.study.protocol.prompts import PromptsRecord

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
    from servewatt import wire
    from servewatt.cli.study.outputs import REPLACE_HINT
    from servewatt.input_files import is_there, read_bytes
    from servewatt.study.protocol.prompts import PromptsRecord, differences

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


def show(record: PromptsRecord, path: Path, *, as_json: bool) -> None:
    """The record, in two lines or as JSON."""
    from servewatt import wire
    from servewatt.input_files import shown
    from servewatt.study.protocol.prompts import Rule

    if as_json:
        click.echo(wire.document(record))
        return
    what = "lines" if record.recipe.rule is Rule.LINE else "prompts"
    lengths = f"{record.shortest_tokens} to {record.longest_tokens} tokens, median {record.median_tokens:g}"
    click.echo(f"{counted(record.prompts, 'prompt')} of {lengths}; {record.uncut} are whole {what}")
    click.echo(f"next: servewatt run --prompts {shown(path)}")
