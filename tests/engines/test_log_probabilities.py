"""Forced decoding tells the probabilities that transformers' own forward pass has, in every engine.

torch-graph, with its ways of cutting steps, and llama-cpp, whose activations are rounded, have tests of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from servewatt.engines import Session
from servewatt.engines.shared.decode import chosen_log_probabilities
from servewatt.records import Configuration, Model, Precision
from tests.engines.libraries import each_of
from tests.engines.tiny import model_of, random_prompts, session_generate, transformers_log_probabilities

Load = Callable[[Model, Configuration], Session]
ROWS = [row for row in random_prompts(6, seed=3) if len(row) > 1] + [[5]]


@pytest.mark.engine
@pytest.mark.parametrize("engine", each_of("torch", "torchscript", "onnx", "openvino", "ctranslate2"))
@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom"])
def test_log_probabilities_are_those_of_one_forward_pass(
    engine: str, kind: str, folder_of: Callable[[str], Path], load: Load
) -> None:
    session = load(model_of(folder_of(kind)), Configuration(engine, threads=1))
    got = session.log_probabilities(ROWS)
    expected = transformers_log_probabilities(folder_of(kind), ROWS)
    assert [len(row) for row in got] == [len(row) - 1 for row in ROWS]
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert session.facts().kv_cache, "every token but the first was fed to a cache"
    session.close()


@pytest.mark.engine
def test_half_precision_shows(folder_of: Callable[[str], Path], load: Load) -> None:
    session = load(model_of(folder_of("llama")), Configuration("torch", precision=Precision.BF16, threads=1))
    got = np.concatenate(session.log_probabilities(ROWS))
    off = np.abs(got - np.concatenate(transformers_log_probabilities(folder_of("llama"), ROWS)))
    assert 1e-3 < off.mean() < 0.3


@pytest.mark.engine
@pytest.mark.parametrize("engine", each_of("torch", "openvino", "torch-graph", "ctranslate2", "llama-cpp"))
def test_scoring_between_two_generations_leaves_them_equal(engine: str, model: Model, load: Load) -> None:
    session = load(model, Configuration(engine, threads=1))
    before = session_generate(session, ROWS[:2], 8, 2)
    session.log_probabilities(ROWS[2:4])
    assert session_generate(session, ROWS[:2], 8, 2) == before
    session.close()


def test_softmax_of_large_logits_by_hand() -> None:
    logits = np.array([[1000.0, 1000.0 + math.log(3.0)], [0.0, 0.0]], dtype=np.float32)
    got = chosen_log_probabilities(logits, [1, 0])
    assert got == pytest.approx([math.log(0.75), math.log(0.5)], abs=1e-4)


def test_the_fake_engine_expects_the_next_number(model_folder_free: Model, load: Load) -> None:
    session = load(model_folder_free, Configuration("fake"))
    assert session.log_probabilities([[3, 4, 9]]) == [[math.log(0.5), pytest.approx(math.log(0.5 / 99))]]


@pytest.fixture
def model_folder_free(tmp_path: Path) -> Model:
    from dataclasses import replace

    from tests.harness.builders import model as anything

    return replace(anything(tmp_path), vocabulary_size=100)
