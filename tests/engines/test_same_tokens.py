"""Every engine says, token for token, what transformers' own `generate` says.

torch-graph, with its ways of cutting steps, and llama-cpp, whose activations are rounded, have tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from servewatt.engines import Session
from servewatt.records import Configuration, Model
from tests.engines.libraries import each_of
from tests.engines.tiny import SIZES, model_of

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("engine", each_of("torch", "torchscript", "onnx", "openvino", "ctranslate2"))
@pytest.mark.parametrize("kind", [*SIZES, "bundled"])
def test_same_tokens_as_transformers(
    engine: str,
    kind: str,
    folder_of: Callable[[str], Path],
    check_tokens: Callable[[Session, str], None],
    load: Callable[[Model, Configuration], Session],
) -> None:
    session = load(model_of(folder_of(kind)), Configuration(engine, threads=1))
    check_tokens(session, kind)
    session.close()


def test_the_reference_is_varied(expected: Callable[[str, int], list[list[int]]]) -> None:
    """Equal tokens would mean little if the models said the same thing over and over."""
    for kind in SIZES:
        assert len({token for row in expected(kind, 1) for token in row}) > 50


@pytest.mark.parametrize("engine", each_of("torch", "torchscript", "onnx", "openvino", "ctranslate2", "llama-cpp"))
def test_generation_ends_when_every_row_has_stopped(
    engine: str,
    model: Model,
    check_stops: Callable[[Session], None],
    load: Callable[[Model, Configuration], Session],
) -> None:
    session = load(model, Configuration(engine, threads=1))
    check_stops(session)
    session.close()
