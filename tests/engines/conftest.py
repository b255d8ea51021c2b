from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from servewatt import engines
from servewatt.engines import Session
from servewatt.records import Configuration, Model
from tests.engines.tiny import (
    FolderArtefacts,
    model_of,
    random_prompts,
    session_generate,
    transformers_generate,
    write_model,
)

BUNDLED = Path(engines.__file__).parents[1] / "models" / "bundled"
PROBLEMS = Path(engines.__file__).parents[1] / "workloads" / "bundled" / "problems.jsonl"
NEW_TOKENS = 64


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny random model of an architecture, or of the bundled model."""
    root = tmp_path_factory.mktemp("tiny")

    @cache
    def make(kind: str) -> Path:
        return BUNDLED if kind == "bundled" else write_model(root / kind, kind)

    return make


@pytest.fixture(scope="session")
def prompts_of() -> Callable[[str], list[list[int]]]:
    """Twenty prompts of different lengths for a model."""

    @cache
    def make(kind: str) -> list[list[int]]:
        if kind != "bundled":
            return random_prompts()
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
        problems = [json.loads(line) for line in PROBLEMS.read_text(encoding="utf-8").splitlines()[:20]]
        return [tokenizer.encode(problem["prompt"]).ids for problem in problems]

    return make


@pytest.fixture(scope="session")
def expected(
    folder_of: Callable[[str], Path], prompts_of: Callable[[str], list[list[int]]]
) -> Callable[[str, int], list[list[int]]]:
    """transformers' own output for a model's prompts at a batch size."""
    return cache(lambda kind, batch: transformers_generate(folder_of(kind), prompts_of(kind), NEW_TOKENS, batch))


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> FolderArtefacts:
    return FolderArtefacts(tmp_path_factory.mktemp("artefacts"))


@pytest.fixture
def model(folder_of: Callable[[str], Path]) -> Model:
    """A tiny Llama."""
    return model_of(folder_of("llama"))


@pytest.fixture
def load(artefacts: FolderArtefacts) -> Callable[[Model, Configuration], Session]:
    return lambda model, configuration: engines.create(configuration.engine).load(model, configuration, artefacts)


@pytest.fixture
def check_tokens(
    prompts_of: Callable[[str], list[list[int]]], expected: Callable[[str, int], list[list[int]]]
) -> Callable[[Session, str], None]:
    """A check that a session of a model says, row by row and in batches, what transformers says."""

    def check(session: Session, kind: str) -> None:
        for batch in (1, 4):
            got = session_generate(session, prompts_of(kind), NEW_TOKENS, batch)
            assert got == expected(kind, batch), f"batch {batch}"

    return check


@pytest.fixture
def check_stops(
    prompts_of: Callable[[str], list[list[int]]], expected: Callable[[str, int], list[list[int]]]
) -> Callable[[Session], None]:
    """A check of a session of the tiny Llama: rows end with their stops, and the generation with the last row."""

    def check(session: Session) -> None:
        rows = expected("llama", 4)[:2]
        stops = frozenset({rows[0][3], rows[1][5]})
        first = [next(i for i, token in enumerate(row) if token in stops) for row in rows]
        steps = list(session.generate(prompts_of("llama")[:2], NEW_TOKENS, stops))
        assert len(steps) == max(first) + 1
        for row, last in enumerate(first):
            assert [step.tokens[row] for step in steps[: last + 1]] == rows[row][: last + 1]
            assert all(step.tokens[row] is None for step in steps[last + 1 :])
        times_s = [step.time_s for step in steps]
        assert times_s == sorted(times_s)

    return check
