from __future__ import annotations

import math
from dataclasses import replace

import pytest
from scipy.stats import binomtest

from servewatt.quality import Agreement, Assessment, Document, HeldOut, Perplexity, Quality
from servewatt.records import Configuration, Interval, Precision, Provider, Status
from servewatt.stats.quality import agreement, bits_per_byte, pass_rate, perplexity, perplexity_ratio, pool
from tests.stats.builders import MODEL, ONNX, OPENVINO, TORCH, TORCH_BF16


def test_agreement_counts_what_comes_before_the_first_difference() -> None:
    reference = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 9, 9, 9], [1, 1]]
    outputs = [[1, 2, 3, 4], [5, 0, 7, 8], [9, 9, 9, 0], [1, 1, 1, 1]]
    found = agreement(reference, outputs)
    # Shares 4/4, 1/4, 3/4 and 2/4 (one is longer); the three that differ do so after 1, 3 and 2 tokens.
    assert (found.prompts, found.equal_share, found.leading_share, found.first_difference) == (4, 0.25, 0.625, 2)


def test_equal_outputs_have_no_first_difference() -> None:
    found = agreement([[1, 2], []], [[1, 2], []])
    assert (found.equal_share, found.leading_share, found.first_difference) == (1.0, 1.0, None)


def test_outputs_of_other_prompts_are_not_compared() -> None:
    with pytest.raises(ValueError, match="1 outputs beside 2"):
        agreement([[1], [2]], [[1]])


def test_perplexity_and_bits_by_hand() -> None:
    # Probabilities 1/2, 1/8 and 1/4: the geometric mean is 1/4, and 1 + 3 + 2 bits are spent.
    scores = [[math.log(1 / 2), math.log(1 / 8)], [math.log(1 / 4)]]
    assert perplexity(scores) == pytest.approx(4.0)
    assert bits_per_byte(scores, 12) == pytest.approx(0.5)


def test_the_ratio_weighs_tokens_not_documents() -> None:
    reference = [[-1.0, -1.0, -1.0], [-2.0]]
    candidate = [[-1.1, -1.1, -1.1], [-2.5]]
    found = perplexity_ratio(reference, candidate)
    # (3 x 0.1 + 0.5) / 4 = 0.2 nats a token.
    assert found.estimate == pytest.approx(math.exp(0.2))
    assert (found.low, found.high, found.n) == (None, None, 2)


def test_the_bootstrap_has_no_width_where_every_document_loses_alike() -> None:
    reference = [[-1.0, -3.0], [-2.0, -5.0], [-0.5, -0.1]]
    candidate = [[a - 0.25 for a in row] for row in reference]
    found = perplexity_ratio(reference, candidate)
    assert found.low == pytest.approx(found.high) == pytest.approx(math.exp(0.25))


def test_the_bootstrap_s_width_is_that_of_the_mean_over_documents() -> None:
    # 40 documents of one token, half losing 0.1 and half nothing: mean 0.05, standard error 0.05 / sqrt(40).
    reference = [[-1.0]] * 40
    candidate = [[-1.1]] * 20 + [[-1.0]] * 20
    found = perplexity_ratio(reference, candidate, seed=3)
    assert found.low is not None
    assert found.high is not None
    half = 1.96 * 0.05 / math.sqrt(40)
    assert math.log(found.low) == pytest.approx(0.05 - half, abs=0.003)
    assert math.log(found.high) == pytest.approx(0.05 + half, abs=0.003)
    assert perplexity_ratio(reference, candidate, seed=3) == found


@pytest.mark.parametrize("scores", [[[-math.inf]], [[math.nan]], [[]], []])
def test_numbers_that_are_none_give_no_perplexity(scores: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"finite|no tokens"):
        perplexity(scores)


def test_other_tokens_are_not_compared() -> None:
    with pytest.raises(ValueError, match="other tokens"):
        perplexity_ratio([[-1.0]], [[-1.0, -1.0]])


@pytest.mark.parametrize("passed", [0, 3, 58])
def test_pass_rate_is_wilson_s_as_scipy_has_it(passed: int) -> None:
    found = pass_rate(passed, 58)
    theirs = binomtest(passed, 58).proportion_ci(method="wilson")
    assert (found.estimate, found.n) == (passed / 58, 58)
    assert found.low == pytest.approx(theirs.low, abs=1e-9)
    assert found.high == pytest.approx(theirs.high, abs=1e-9)


def quality(created_at: str, *ratios: tuple[Configuration, float], text: str = "85d0", tokens: int = 64) -> Quality:
    """Against torch in fp32; perplexity ratios 1 % around those given, three outputs of four the same."""
    assessments = tuple(
        Assessment(
            configuration,
            Status.OK,
            agreement=Agreement(4, 0.75, 0.9, 12.0),
            perplexity=Perplexity(3.0, 0.98, Interval(ratio, ratio * 0.99, ratio * 1.01, 24)),
        )
        for configuration, ratio in ratios
    )
    held_out = HeldOut("standard library of Python 3.11.7", 0, 256, (Document("a.py", "00", 100),) * 24, text)
    return Quality(MODEL.without_place, TORCH, "bundled", "0", tokens, assessments, held_out, "0.1.0", created_at)


def ratios(found: Quality | None) -> dict[str, float]:
    assert found is not None
    scored = {a.configuration.key: a.perplexity for a in found.assessments}
    return {key: p.ratio.estimate for key, p in scored.items() if p is not None and p.ratio is not None}


INT4 = Configuration("onnx", Provider.CPU, Precision.INT4)


def test_records_that_asked_the_same_are_one_and_the_newest_assessment_counts() -> None:
    newer = quality("2026-01-02", (TORCH, 1.0), (INT4, 1.05))
    older = quality("2026-01-01", (TORCH, 1.0), (TORCH_BF16, 1.001), (INT4, 1.03))
    found = pool([newer, older], [TORCH_BF16, INT4])
    assert ratios(found) == {TORCH.key: 1.0, INT4.key: 1.05, TORCH_BF16.key: 1.001}
    assert found is not None and found.created_at == "2026-01-02"


def test_of_records_that_asked_otherwise_the_one_that_knows_most_is_taken() -> None:
    quick = quality("2026-01-03", (TORCH, 1.0), (INT4, 1.2), text="1111")
    shorter = quality("2026-01-02", (TORCH, 1.0), (INT4, 1.1), tokens=8)
    full = quality("2026-01-01", (TORCH, 1.0), (TORCH_BF16, 1.001), (INT4, 1.03))
    assert pool([quick, shorter, full], [TORCH_BF16, INT4]) == full
    assert pool([quick, shorter, full], [INT4]) == quick, "of equal ones the newest"


def test_what_says_nothing_of_the_configurations_is_no_quality_of_theirs() -> None:
    assert pool([], [TORCH]) is None
    assert pool([quality("2026-01-01", (TORCH, 1.0))], [ONNX, OPENVINO]) is None
    batched = replace(INT4, batch=16, threads=2)
    assert ratios(pool([quality("2026-01-01", (INT4, 1.03))], [batched])) == {INT4.key: 1.03}
