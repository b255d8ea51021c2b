"""Engines that answer wrongly: each is refused with the reason in plain words, and nothing of it is ranked."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.engines.fake.answers import ANSWERING, FACTS, PEAKS, SCORES, STEPS
from servewatt.harness import worker
from servewatt.harness.assess import Task, answer
from servewatt.harness.runner import measure, prepare
from servewatt.harness.schedule import preparation
from servewatt.records import Configuration, Result, Status, Stop, Via
from tests.harness.builders import ENVIRONMENT, QUICK, fake, model, run

WORDS = {
    "too-few-rows": r"returned 1 row, not 2 \(step 1\)",
    "too-many-rows": r"returned 3 rows, not 2 \(step 1\)",
    "no-tokens": "returned 0 tokens, not the 5 asked for",
    "too-few-tokens": "returned 4 tokens, not the 5 asked for",
    "too-many-tokens": "returned more tokens than the 5 asked for",
    "tokens-without-end": "returned more tokens than the 5 asked for",
    "id-of-vocabulary-size": r"returned token id 1000; the vocabulary has 1,000 \(step 2, row 1\)",
    "id-negative": "returned token id -1; the vocabulary has 1,000",
    "id-float": "returned 3.0 as a token id, which is of type float",
    "id-bool": "returned True as a token id, which is of type bool",
    "id-none": "returned no token for a row, though nothing ends one",
    "times-backwards": r"returned times that run backwards, by 0\.09.* s \(step 2\)",
    "times-standing-still": "returned times that stand still: 5 steps in no time",
    "times-before": "s before the generation began: they are not of the monotonic clock",
    "times-wall-clock": "s after the generation had ended: they are not of the monotonic clock",
    "times-nan": r"returned nan as the time of a step \(step 2\)",
    "times-infinite": "returned inf as the time of a step",
    "times-text": r"returned '\d+\.\d+' as the time of a step",
    "facts-none": "facts that cannot be: they are of type NoneType",
    "facts-no-version": "engine_version is ''",
    "facts-surrogate": r"engine_version is '1\\udcff'",
    "facts-nan": "weight_dtypes: fp32 is nan",
    "facts-infinite": "weight_dtypes: fp32 is inf",
    "facts-negative": "weight_dtypes: fp32 is -40",
    "facts-absurd": "weight_dtypes: fp32 is 10{30}",
    "facts-text-size": "weight_dtypes: fp32 is '40'",
    "facts-no-pairs": r"devices has \('cpu',\)",
    "facts-threads-float": "threads is 2.5",
    "facts-threads-zero": "threads is 0",
    "facts-cache-text": "kv_cache is 'yes'",
}
SEEN_IN_ASSESSMENTS = {
    "scores-positive": r"returned 0.5 as a log probability \(row 1, token 2\)",
    "scores-nan": "returned nan as a log probability",
    "scores-minus-infinity": "returned -inf as a log probability",
    "scores-text": "returned '-1' as a log probability",
    "scores-too-few": "returned 1 log probabilities for the 3 tokens of row 1",
    "scores-too-many": "returned 3 log probabilities for the 3 tokens of row 1",
    "scores-too-few-rows": "returned log probabilities of 1 row, not 2",
}


def wrong(failure: str) -> Configuration:
    return replace(fake(step_ms=1, fail=failure), batch=2)


def tried(folder: Path, failure: str) -> Result:
    """A preparation in this process; every batch of it has two rows."""
    return worker.run_trial(preparation(run(folder, [wrong(failure)]), wrong(failure)), prepare=True)


def test_each_wrong_answer_is_tried_here() -> None:
    ends = {"tokens-after-stop"}
    assert WORDS.keys() | SEEN_IN_ASSESSMENTS.keys() | PEAKS.keys() | ends == ANSWERING
    assert WORDS.keys() | ends == STEPS.keys() | FACTS.keys()
    assert SEEN_IN_ASSESSMENTS.keys() == SCORES.keys()


@pytest.mark.parametrize("failure", WORDS)
def test_a_wrong_answer_is_refused_with_its_reason(tmp_path: Path, failure: str) -> None:
    result = tried(tmp_path, failure)
    assert result.status is Status.REFUSED
    if failure in FACTS:
        assert result.facts is None
    else:
        assert result.generations == () and result.outputs == ()
    assert re.search(WORDS[failure], result.reason), result.reason
    assert "another version of the engine" in result.hint


def test_a_row_that_goes_on_after_its_stop_id_is_refused(tmp_path: Path) -> None:
    configuration = wrong("tokens-after-stop")
    plan = run(tmp_path, [configuration])
    trial = preparation(plan, configuration)
    # The first row counts 3, 4, 5 and the second likewise: with 4 it has ended. The third counts from 15.
    trial = replace(
        trial,
        model=replace(trial.model, eos_ids=(4,)),
        workload=replace(trial.workload, prompts=((1, 2), (4, 5, 6)), stop=Stop.EOS),
    )
    result = worker.run_trial(trial, prepare=True)
    assert (result.status, result.reason) == (
        Status.REFUSED,
        "the engine returned token id 4 for a row that had ended (step 3, row 1)",
    )
    honest = replace(trial, configuration=replace(fake(step_ms=1), batch=2))
    assert worker.run_trial(honest, prepare=True).outputs == ((3, 4), (15, 16, 17, 18, 19))


@pytest.mark.parametrize("failure", PEAKS)
def test_a_peak_of_memory_that_cannot_be_is_refused(tmp_path: Path, failure: str) -> None:
    plan = run(tmp_path, [wrong(failure)], replace(QUICK, blocks=1, idle_s=0.01, window_s=0.05, warmup_s=0.01))
    result = measure(replace(preparation(plan, wrong(failure)), block=0), ENVIRONMENT)
    assert result.status is Status.REFUSED
    assert "as the bytes of device memory that it held" in result.reason
    assert result.peak_gpu_bytes is None


@pytest.mark.parametrize("failure", SCORES)
def test_log_probabilities_that_cannot_be_are_refused(tmp_path: Path, failure: str) -> None:
    said = answer(
        Task(
            model=model(tmp_path),
            configuration=wrong(failure),
            prompts=((1, 2), (3,)),
            new_tokens=3,
            stop_ids=(),
            documents=((5, 6, 9), (1, 2, 3)),
        )
    )
    assert (said.status, said.log_probabilities) == (Status.REFUSED, ())
    assert re.search(SEEN_IN_ASSESSMENTS[failure], said.reason), said.reason


@pytest.mark.parametrize("failure", ["too-few-rows", "id-float", "times-standing-still", "facts-nan"])
def test_assessments_refuse_the_same_answers(tmp_path: Path, failure: str) -> None:
    said = answer(
        Task(
            model=model(tmp_path),
            configuration=wrong(failure),
            prompts=((1, 2), (3,)),
            new_tokens=5,
            stop_ids=(),
            documents=(),
        )
    )
    assert (said.status, said.outputs, said.facts) == (Status.REFUSED, (), None)
    assert said.reason


@pytest.mark.parametrize("via", Via)
@pytest.mark.parametrize("failure", ["id-float", "times-nan", "facts-nan"])
def test_a_worker_s_result_says_what_was_wrong(tmp_path: Path, failure: str, via: Via) -> None:
    """In a process of its own, and through a server, whose JSON cannot hold some of the values."""
    configuration = replace(wrong(failure), via=via)
    result = prepare(run(tmp_path, [configuration]), configuration)
    assert result.status is Status.REFUSED
    assert re.search(WORDS[failure], result.reason), result.reason
