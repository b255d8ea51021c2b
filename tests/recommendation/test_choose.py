from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from servewatt.errors import InputError
from servewatt.recommendation import choose
from servewatt.recommendation.limits import check
from servewatt.recommendation.records import Constraints, Recommendation
from servewatt.recommendation.sentence import describe_check, over
from servewatt.records import Boundary, Configuration, Grade, Interval, Provider, Result, Status, Via
from servewatt.stats import analyse
from tests.stats.builders import ONNX, OPENVINO, TORCH, TORCH_CUDA, failed, result, run

ANY = Constraints()


def trials(configuration: Configuration, joules: float, scatter: float = 0.002, blocks: int = 5) -> list[Result]:
    draw = random.Random(configuration.key)
    return [result(configuration, b, joules * (1 + draw.gauss(0, scatter)), 0.0) for b in range(blocks)]


def recommend(
    results: Sequence[Result], constraints: Constraints = ANY, boundary: Boundary | None = None
) -> Recommendation:
    configurations = tuple(dict.fromkeys(r.trial.configuration for r in results))
    return choose(analyse(run(configurations, blocks=5), results, boundary=boundary), constraints)


def test_a_clear_winner() -> None:
    answer = recommend(trials(TORCH, 100.0) + trials(ONNX, 69.0) + trials(OPENVINO, 200.0))
    assert answer.choice == ONNX
    assert answer.candidates == (ONNX,)
    assert answer.more_blocks == 0
    assert answer.runner_up is not None
    assert answer.runner_up.second == TORCH
    found = re.fullmatch(
        r"Serve with onnx/cpu/fp32/b1: it needs ([\d.]+) % \[([\d.]+), ([\d.]+)\] less energy per token "
        r"than torch/cpu/fp32/b1, the runner-up\.",
        answer.sentence,
    )
    assert found is not None
    estimate, low, high = (float(text) for text in found.groups())
    assert low < estimate < high
    assert 25 < low < 31 < high < 37
    assert answer.decided and answer.promise == 0
    assert [b.beaten_by for b in answer.beaten] == [ONNX, ONNX]


def test_the_same_engine_through_http_is_no_rival() -> None:
    through_http = replace(TORCH, via=Via.HTTP)
    answer = recommend(trials(TORCH, 100.0) + trials(through_http, 100.1) + trials(ONNX, 200.0))
    assert answer.choice == TORCH
    assert answer.runner_up is not None and answer.runner_up.second == ONNX
    assert [(e.configuration, e.reason) for e in answer.exclusions] == [(through_http, f"is {TORCH.key} through HTTP")]


def test_engines_measured_through_http_alone_are_rivals() -> None:
    torch, onnx = replace(TORCH, via=Via.HTTP), replace(ONNX, via=Via.HTTP)
    assert recommend(trials(torch, 100.0) + trials(onnx, 200.0)).choice == torch


def test_undecided_names_the_candidates_and_what_would_tell() -> None:
    answer = recommend(trials(TORCH, 100.0, 0.02) + trials(ONNX, 102.5, 0.02) + trials(OPENVINO, 300.0))
    assert answer.choice in {TORCH, ONNX} and not answer.decided
    assert set(answer.candidates) == {TORCH, ONNX}
    assert answer.runner_up is not None and answer.more_blocks is not None
    assert answer.more_blocks > 0
    assert answer.promise is not None and 0.03 < answer.promise < 0.5
    other = next(c for c in (TORCH, ONNX) if c != answer.choice)
    assert answer.sentence.startswith(f"Serve with {answer.choice.key} for now: {other.key} might save up to ")
    assert f"about {answer.more_blocks} more block" in answer.sentence


def test_the_projection_comes_true() -> None:
    early = recommend(trials(TORCH, 100.0, 0.02) + trials(ONNX, 105.0, 0.02))
    assert not early.decided and early.more_blocks is not None
    late = 5 + 2 * early.more_blocks
    answer = recommend(trials(TORCH, 100.0, 0.02, late) + trials(ONNX, 105.0, 0.02, late))
    assert answer.choice == TORCH and answer.decided


def test_one_block_decides_nothing() -> None:
    answer = recommend(trials(TORCH, 100.0, blocks=1) + trials(ONNX, 300.0, blocks=1))
    assert answer.choice == TORCH and not answer.decided
    assert answer.promise is not None and answer.promise > 0.5
    assert "(1 block is too few to compare their energy per token)" in answer.sentence


def test_a_ratio_that_says_nothing_is_told_in_words() -> None:
    torch = [result(TORCH, b, j, 0.0) for b, j in enumerate((100.0, 700.0, 20.0))]
    onnx = [result(ONNX, b, j, 0.0) for b, j in enumerate((400.0, 90.0, 150.0))]
    answer = recommend(torch + onnx)
    assert "(3 blocks are too few to compare their energy per token);" in answer.sentence
    assert "[" not in answer.sentence


def test_exact_ties_are_a_choice_that_nothing_beats_by_much() -> None:
    answer = recommend([result(c, b) for c in (TORCH, ONNX) for b in range(5)])
    assert answer.choice in {TORCH, ONNX} and answer.decided
    assert set(answer.candidates) == {TORCH, ONNX}
    assert "nothing else measured saves more than 0.1 % of its energy per token" in answer.sentence


def test_many_candidates_are_counted() -> None:
    configurations = [Configuration("torch", batch=b) for b in range(1, 8)]
    answer = recommend([result(c, b) for c in configurations for b in range(5)])
    assert len(answer.candidates) == 7
    assert "and 2 others" in answer.sentence  # beside the choice, its nearest rival and three more


def test_limits_exclude_with_their_reason_and_the_rest_is_compared_anew() -> None:
    slow = [replace(r, generations=(replace(r.generations[0], ttft_s=2.0),)) for r in trials(ONNX, 50.0)]
    results = slow + trials(TORCH, 100.0) + trials(OPENVINO, 200.0)
    answer = recommend(results, Constraints(max_ttft_s=0.5))
    assert answer.choice == TORCH
    assert [e.configuration for e in answer.exclusions] == [ONNX]
    assert answer.exclusions[0].reason == "time to first token p95 2 s is above the limit of 500 ms"
    alone = recommend(results[5:])
    assert answer.runner_up == alone.runner_up  # two are left, so one comparison: no correction for the excluded


def test_memory_is_resident_memory_and_on_a_gpu_device_memory_too() -> None:
    limit = Constraints(max_memory_bytes=2000)
    on_gpu = [replace(r, peak_gpu_bytes=3000) for r in trials(TORCH_CUDA, 50.0)]
    answer = recommend(on_gpu + trials(TORCH, 100.0), limit)
    assert answer.choice == TORCH
    assert answer.exclusions[0].reason == "peak GPU memory 3 kB is above the limit of 2 kB"
    unknown = recommend(trials(TORCH_CUDA, 50.0) + trials(TORCH, 100.0), limit)
    assert unknown.exclusions[0].reason == "peak GPU memory was not measured"


def test_provider() -> None:
    results = trials(TORCH_CUDA, 50.0) + trials(TORCH, 100.0, scatter=0.0)
    answer = recommend(results, Constraints(provider=Provider.CPU))
    assert answer.choice == TORCH
    assert answer.exclusions[0].reason == "runs on cuda, not cpu"
    assert answer.sentence == (
        "Serve with torch/cpu/fp32/b1: it is the only configuration that meets the limits (2.5 J of energy per token), "
        "so there is nothing to compare it with."
    )


def test_one_request_at_a_time_fills_no_batch() -> None:
    batched = replace(TORCH, batch=16)
    results = trials(TORCH, 100.0) + trials(batched, 20.0)
    free = recommend(results)
    assert free.choice == batched
    assert free.sentence.endswith(
        "It takes 16 requests at a time: --concurrency N leaves out batches larger than yours."
    )
    one = recommend(results, Constraints(concurrency=1))
    assert one.choice == TORCH
    assert [(e.configuration, e.reason) for e in one.exclusions] == [
        (batched, "a batch of 16 is never full with 1 request at a time")
    ]
    many = recommend(results, Constraints(concurrency=16))
    assert many.choice == batched
    assert "--concurrency" not in many.sentence
    with pytest.raises(InputError):
        recommend(results, Constraints(concurrency=0))


def test_failures_are_excluded_with_their_most_frequent_end() -> None:
    broken = [failed(ONNX, b, Status.CRASHED, "killed by SIGSEGV") for b in range(2)]
    broken.append(failed(ONNX, 2, Status.TIMED_OUT, "too slow"))
    answer = recommend(trials(TORCH, 100.0) + broken)
    assert answer.choice == TORCH
    assert answer.exclusions[0].reason == "crashed: killed by SIGSEGV"
    assert "the only configuration with a valid measurement" in answer.sentence


def test_nothing_feasible_names_what_comes_nearest() -> None:
    results = trials(TORCH, 100.0) + trials(ONNX, 200.0)
    near = [replace(r, generations=r.generations[:1]) for r in trials(OPENVINO, 300.0)]  # 0.16 s against 0.426 s
    answer = recommend(results + near, Constraints(max_latency_p95_s=0.128))
    assert answer.choice is None
    assert answer.candidates == ()
    assert answer.more_blocks is None
    assert answer.sentence == (
        "No configuration meets the limits; openvino/cpu/fp32/b1 comes nearest: "
        "request latency p95 160 ms is above the limit of 128 ms (25 % over)."
    )


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (1_000_000, "peak memory 200 MB is above the limit of 1 MB"),
        (2**20, "peak memory 190.7 MiB is above the limit of 1 MiB"),
        (1_500_000, "peak memory 200 MB is above the limit of 1.5 MB"),
        (2_000, "peak memory 200 MB is above the limit of 2 kB"),
        (500, "peak memory 200 MB is above the limit of 500 bytes"),
    ],
)
def test_sizes_are_in_the_units_that_the_limit_was_given_in(limit: int, text: str) -> None:
    assert describe_check(check(TORCH, "peak memory", "bytes", Interval(2e8, 2e8, 2e8, 5), limit)) == text


@pytest.mark.parametrize(("excess", "text"), [(0.25, "25 % over"), (8.0, "800 % over"), (199.0, "200 times the limit")])
def test_by_how_much_a_limit_is_exceeded(excess: float, text: str) -> None:
    assert over(excess) == text


def test_nothing_measured() -> None:
    analysis = analyse(run((TORCH, ONNX)), [])
    answer = choose(analysis, ANY)
    assert answer.choice is None
    assert [e.reason for e in answer.exclusions] == ["not measured yet", "not measured yet"]
    assert answer.sentence == "No configuration has a valid trial yet."


def test_energy_that_was_not_metered_or_reads_as_zero_is_out() -> None:
    blind = [replace(r, sections=tuple(replace(s, energy=()) for s in r.sections)) for r in trials(ONNX, 1.0)]
    zero = [result(OPENVINO, b, 0.0, 0.0) for b in range(5)]
    answer = recommend(blind + zero + trials(TORCH, 100.0))
    reasons = {e.configuration: e.reason for e in answer.exclusions}
    assert answer.choice == TORCH
    assert reasons[ONNX] == "its energy was not metered"
    assert "reads as zero" in reasons[OPENVINO]


def regraded(results: Sequence[Result], cpu: Grade) -> list[Result]:
    def of(result: Result) -> Result:
        sections = tuple(
            replace(s, energy=tuple(replace(e, grade=cpu) if e.component == "cpu" else e for e in s.energy))
            for s in result.sections
        )
        return replace(result, sections=sections)

    return [of(r) for r in results]


def test_the_sentence_says_when_energy_is_not_counted() -> None:
    results = regraded(trials(TORCH, 100.0, scatter=0.0) + trials(ONNX, 200.0), Grade.ESTIMATED)
    assert "less partly estimated energy per token" in recommend(results).sentence
    assert "less estimated CPU energy per token" in recommend(results, boundary=Boundary.CPU).sentence
    assert "(2.5 J of partly estimated energy per token)" in recommend(results[:5]).sentence


def test_the_leader_is_not_one_that_pairing_shows_to_need_more() -> None:
    # ONNX ran in the cheap blocks alone: its median is lower, yet in each block both have it needs more.
    cheap, dear = [100.0, 100.5, 99.8, 100.1, 100.3], [200.0, 201.0, 199.0, 200.4, 200.2]
    torch = [result(TORCH, b, j, 0.0) for b, j in enumerate(cheap + dear)]
    onnx = [result(ONNX, b, j * 1.1, 0.0) for b, j in enumerate(cheap)]
    answer = recommend(torch + onnx)
    assert answer.choice == TORCH


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_that_cannot_be_met_is_refused(limit: float) -> None:
    with pytest.raises(InputError, match="can never be met"):
        recommend(trials(TORCH, 100.0), Constraints(max_latency_p95_s=limit))


def test_a_wrong_choice_is_rare_when_one_looks_after_every_block() -> None:
    draw = random.Random(3)
    wrong = 0
    for _ in range(20):
        blocks = [
            [result(c, b, 100 * (1 + draw.gauss(0, 0.02)), 0.0) for c in (TORCH, ONNX, OPENVINO)] for b in range(12)
        ]
        looks = [[r for block in blocks[:n] for r in block] for n in range(3, 13)]
        # Nothing saves anything, so no promise can be false; but nothing may be shown to need more.
        wrong += any(len(recommend(look).candidates) < 3 for look in looks)
    assert wrong <= 3  # at the bound of 5 %, 3 or fewer of 20 with probability 0.98
