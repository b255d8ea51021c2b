from __future__ import annotations

from dataclasses import replace

import pytest

from servewatt.errors import InputError
from servewatt.quality import Agreement, Assessment, Perplexity, Quality
from servewatt.recommendation.quality import QualityLimits, choose_by_quality
from servewatt.recommendation.records import Constraints, Recommendation, Standing
from servewatt.records import Configuration, Precision, Provider, Status, Weights
from servewatt.stats.analyse import analyse
from servewatt.stats.records import Interval
from tests.recommendation.test_choose import trials
from tests.stats.builders import MODEL, ONNX, TORCH, run

INT4 = Configuration("onnx", Provider.CPU, Precision.INT4)
INT4_BATCH = replace(INT4, batch=4)


def assessment(configuration: Configuration, share: float, ratio: tuple[float, float, float]) -> Assessment:
    estimate, low, high = ratio
    return Assessment(
        configuration,
        Status.OK,
        agreement=Agreement(10, share, share, None),
        perplexity=Perplexity(3.0, 0.9, Interval(estimate, low, high, 24)),
    )


QUALITY = Quality(
    model=MODEL,
    reference=TORCH,
    workload="bundled",
    workload_digest="0",
    new_tokens=64,
    assessments=(
        assessment(TORCH, 1.0, (1.0, 1.0, 1.0)),
        assessment(INT4, 0.6, (1.015, 1.01, 1.03)),
        Assessment(ONNX, Status.CRASHED, "the worker was killed by SIGSEGV"),
    ),
    held_out=None,
    servewatt_version="0",
)


def choose(limits: QualityLimits, quality: Quality = QUALITY) -> Recommendation:
    results = trials(TORCH, 100.0) + trials(ONNX, 40.0) + trials(INT4_BATCH, 50.0)
    analysis = analyse(run((TORCH, ONNX, INT4_BATCH), blocks=5), results)
    return choose_by_quality(analysis, Constraints(), quality, limits)


def reasons(answer: Recommendation) -> dict[str, str]:
    return {exclusion.configuration.key: exclusion.reason for exclusion in answer.exclusions}


def test_a_limit_that_all_measured_ones_meet_leaves_the_least_energy() -> None:
    answer = choose(QualityLimits(max_perplexity_ratio=1.05))
    assert answer.choice == INT4_BATCH, "measured at batch 1, int4 says the same at batch 4"
    assert reasons(answer) == {ONNX.key: "its quality is not known: the worker was killed by SIGSEGV"}


def test_the_upper_end_of_the_ratio_s_interval_has_to_meet_the_limit() -> None:
    answer = choose(QualityLimits(max_perplexity_ratio=1.02))
    assert answer.choice == TORCH
    assert reasons(answer)[INT4_BATCH.key] == (
        "perplexity ratio 1.0150 [1.0100, 1.0300] is not shown to be within the limit of 1.02 yet "
        "(more documents than 24 would tell)"
    )
    assert answer.sentence.endswith(f" Not shown to meet the limits yet: {INT4_BATCH.key}.")
    assert [e.not_shown for e in answer.exclusions] == [False, True]
    over = choose(QualityLimits(max_perplexity_ratio=1.005))
    assert reasons(over)[INT4_BATCH.key] == "perplexity ratio 1.0150 [1.0100, 1.0300] is above the limit of 1.005"


def test_agreement() -> None:
    answer = choose(QualityLimits(min_agreement=0.9))
    assert answer.choice == TORCH
    # Wilson's interval for 6 of 10.
    assert reasons(answer)[INT4_BATCH.key] == "agreement 60 % [31.27, 83.18] is below the limit of 90 %"


def test_agreement_is_judged_by_its_lower_bound_and_the_reference_agrees_with_itself() -> None:
    likely = replace(QUALITY, assessments=(QUALITY.assessments[0], assessment(INT4, 0.95, (1.0, 1.0, 1.0))))
    answer = choose(QualityLimits(min_agreement=0.9), likely)
    assert answer.choice == TORCH
    assert {c.configuration: c.standing for c in answer.checks} == {
        TORCH: Standing.MET,
        INT4_BATCH: Standing.NOT_SHOWN,
    }
    assert "(more prompts than 10 would tell)" in reasons(answer)[INT4_BATCH.key]
    assert choose(QualityLimits(min_agreement=0.6), likely).choice == INT4_BATCH


def test_quality_that_none_is_shown_to_have_names_those_that_could() -> None:
    only = replace(QUALITY, assessments=(assessment(INT4, 0.95, (1.0, 1.0, 1.0)),))
    answer = choose(QualityLimits(min_agreement=0.9), only)
    assert (answer.choice, answer.candidates) == (None, (INT4_BATCH,))
    assert answer.sentence.startswith(
        f"No configuration is shown to meet the limits yet; {INT4_BATCH.key} could: agreement 95 % ["
    )


def test_what_was_not_measured_is_not_good_enough() -> None:
    only = replace(QUALITY, assessments=QUALITY.assessments[:1])
    assert reasons(choose(QualityLimits(min_agreement=0.1), only))[INT4_BATCH.key] == "its quality was not measured"
    none = choose(QualityLimits(min_agreement=0.1), replace(QUALITY, assessments=()))
    assert (none.choice, len(none.exclusions)) == (None, 3)
    assert "good enough" in none.sentence


def test_another_model_s_quality_is_refused() -> None:
    with pytest.raises(InputError, match="another revision"):
        choose(QualityLimits(min_agreement=0.5), replace(QUALITY, model=replace(MODEL, revision="1")))
    with pytest.raises(InputError, match="another revision"):
        choose(QualityLimits(min_agreement=0.5), replace(QUALITY, model=replace(MODEL, weights=Weights.RANDOM)))


@pytest.mark.parametrize("limits", [QualityLimits(min_agreement=90), QualityLimits(max_perplexity_ratio=0)])
def test_limits_that_make_no_sense_are_refused(limits: QualityLimits) -> None:
    with pytest.raises(InputError):
        choose(limits)
