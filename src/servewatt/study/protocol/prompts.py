"""The study's prompts: from each HumanEval task one random line, cut to its first tokens; or the whole prompt.

The rule is that of the study's own script (testing/dataset/get_dataset_02.py of its replication repository): for each
task draw one line of the prompt (leading white space kept) and a number of tokens, again and again until the number
is in the range; keep the line's first tokens. A line that is long beyond the range is drawn less often, because more
of its numbers are rejected; a blank or short line never.

Known of the published 164 prompts: the task of each, in HumanEval's order; the tokenizer, that of
Salesforce/codet5-base; that its start token counted, so that 10 to 15 tokens are 9 to 14 of text. `--tokens 9-14
--tokenizer Salesforce/codet5-base` is the study to the letter. Unknown, because the script set none: the seed. So
this makes other prompts by the same rule, not the same prompts.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from servewatt.errors import InputError

SCHEME = "random() below count, sha256 of seed and task, v1"
"""Names the way lines and lengths are drawn; any change of it makes other prompts."""

Spans = Callable[[str], Sequence[tuple[int, int]]]
"""Begin and end of each token of a text, in characters."""

HUMANEVAL = "openai/openai_humaneval"
"""The data set on the hub."""
HUMANEVAL_REVISION = "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544"
"""Its commit: 164 problems, MIT."""


class Rule(StrEnum):
    """What becomes of a task's prompt."""

    LINE = "line"
    """One random line, cut to its first tokens: the study's."""
    WHOLE = "whole"
    """The whole prompt: what users send."""


@dataclass(frozen=True)
class Source:
    """Where the problems come from."""

    name: str
    """Name of the file, or id of the data set on the hub."""
    sha256: str
    """Of the file read."""
    commit: str = ""
    """Of the data set on the hub; empty for a file."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the prompts, byte for byte."""

    rule: Rule
    source: Source
    limit: int | None
    """The first so many tasks; None for all."""
    tokenizer: str
    """As asked for: `bundled`, a folder or a hub id."""
    tokenizer_sha256: str
    """Of its files."""
    tokenizer_commit: str = ""
    """On the hub; empty otherwise."""
    seed: int | None = None
    """None where nothing is drawn."""
    least_tokens: int | None = None
    """Of text, special tokens not counted; None for whole prompts."""
    most_tokens: int | None = None
    scheme: str = SCHEME


@dataclass(frozen=True)
class PromptsRecord:
    """How a file of prompts was made, and what is in it."""

    recipe: Recipe
    prompts: int
    shortest_tokens: int
    median_tokens: float
    longest_tokens: int
    uncut: int
    """Prompts that are a whole line (rule line) or a whole prompt."""
    sha256: str
    """Of the file."""
    servewatt_version: str


def draw_line(task_id: str, prompt: str, spans: Spans, *, seed: int, least: int, most: int) -> str:
    """One line of `prompt`, cut to between `least` and `most` tokens: the study's draw, seeded by task.

    A cut never falls inside a character. Raises InputError if no line has `least` tokens.
    """
    lines = [line for line in prompt.split("\n") if line.strip()]
    ends = {line: cut_points(spans(line)) for line in lines}
    if not any(least <= count <= most for line in lines for count in ends[line]):
        longest = max((max(points, default=0) for points in ends.values()), default=0)
        raise InputError(
            f"no line of {task_id} can be cut to {least} to {most} tokens: its longest has {longest}",
            f"ask for fewer: --tokens {max(1, min(least, longest))}-{most}",
        )
    generator = _generator(seed, task_id)
    while True:
        line = lines[_below(generator, len(lines))]
        count = least - 1 + _below(generator, max(max(ends[line], default=0) - least + 2, 1))
        if least <= count <= most and count in ends[line]:
            return line[: ends[line][count]]


def differences(there: Recipe, asked: Recipe) -> list[str]:
    """What differs between two recipes, each as `seed: 0 there, 1 asked`."""
    names = [field.name for field in fields(Recipe)]
    pairs = [(name, getattr(there, name), getattr(asked, name)) for name in names]
    return [f"{name}: {a} there, {b} asked" for name, a, b in pairs if a != b]


def cut_points(spans: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Number of tokens -> end of the text they make, in characters, where no character is split between tokens."""
    following = [*(begin for begin, _ in spans[1:]), *(end for _, end in spans[-1:])]
    return {count: end for count, ((_, end), begin) in enumerate(zip(spans, following, strict=True), 1) if begin >= end}


def _generator(seed: int, task_id: str) -> random.Random:
    """A generator for one task, so that a limit or another order changes no prompt."""
    return random.Random(int.from_bytes(hashlib.sha256(f"{seed} {task_id}".encode()).digest()[:8], "little"))


def _below(generator: random.Random, count: int) -> int:
    # Only random() is promised to give the same numbers in every version of Python.
    return int(generator.random() * count)
