"""Every engine says, token for token, what transformers' own `generate` says.

torch-graph, with its ways of cutting steps, and llama-cpp, whose activations are rounded, have tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from servewatt.engines import Session
from servewatt.records import Configuration, Model
from tests.engines.conftest import NEW_TOKENS
from tests.engines.libraries import each_of
from tests.engines.tiny import SIZES, model_of, session_generate

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("engine", each_of("torch", "torchscript", "onnx", "openvino", "ctranslate2"))
@pytest.mark.parametrize("kind", [*SIZES, "bundled"])
def test_same_tokens_as_transformers(
    engine: str,
    kind: str,
    folder_of: Callable[[str], Path],
    prompts_of: Callable[[str], list[list[int]]],
    expected: Callable[[str, int], list[list[int]]],
    load: Callable[[Model, Configuration], Session],
) -> None:
    session = load(model_of(folder_of(kind)), Configuration(engine, threads=1))
    for batch in (1, 4):
        got = session_generate(session, prompts_of(kind), NEW_TOKENS, batch)
        assert got == expected(kind, batch), f"batch {batch}"
    session.close()


def test_the_reference_is_varied(expected: Callable[[str, int], list[list[int]]]) -> None:
    """Equal tokens would mean little if the models said the same thing over and over."""
    for kind in SIZES:
        assert len({token for row in expected(kind, 1) for token in row}) > 50


@pytest.mark.parametrize("engine", each_of("torch", "torchscript", "onnx", "openvino", "ctranslate2", "llama-cpp"))
def test_generation_ends_when_every_row_has_stopped(
    engine: str,
    model: Model,
    prompts_of: Callable[[str], list[list[int]]],
    expected: Callable[[str, int], list[list[int]]],
    load: Callable[[Model, Configuration], Session],
) -> None:
    rows = expected("llama", 4)[:2]
    stops = frozenset({rows[0][3], rows[1][5]})
    first = [next(i for i, token in enumerate(row) if token in stops) for row in rows]
    session = load(model, Configuration(engine, threads=1))
    steps = list(session.generate(prompts_of("llama")[:2], NEW_TOKENS, stops))
    assert len(steps) == max(first) + 1
    for row, last in enumerate(first):
        assert [step.tokens[row] for step in steps[: last + 1]] == rows[row][: last + 1]
        assert all(step.tokens[row] is None for step in steps[last + 1 :])
    times_s = [step.time_s for step in steps]
    assert times_s == sorted(times_s)
    session.close()
