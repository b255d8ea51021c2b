"""Checks of a race on made-up slices: what each warns of, with sizes worked out by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from servewatt.records import Configuration, Grade, Precision, Result, Slice, Status, UtilisationSample
from servewatt.stats.race import Levels
from servewatt.stats.race.checks import Kind, Margins, RaceWarning, margins, race_warnings
from servewatt.stats.race.costs import run_costs, time_cost
from tests.stats.builders import ONNX, OPENVINO, PACKAGE, TORCH, energy, result

Cost = Callable[[int, int, int], float]
"""Seconds of a token by block, round and residents."""


def race(
    costs: Mapping[Configuration, Cost],
    blocks: int = 3,
    rounds: int = 8,
    join: Sequence[Configuration] = (),
    *,
    shuffled: bool = False,
) -> list[Result]:
    """Results whose slices follow one another each second, in the order of `costs`, turned round in even rounds."""
    shuffle = random.Random(0).sample
    order = list(join or costs)
    taken: dict[tuple[int, Configuration], list[Slice]] = {(b, c): [] for b in range(blocks) for c in order}
    for block in range(blocks):
        now_s = 1000.0 * block
        for number in range(-1, rounds):
            here = order if number % 2 else order[::-1]
            for position, one in enumerate(shuffle(here, len(here)) if shuffled and number >= 0 else here):
                residents = position + 1 if number < 0 else len(order)
                work_s = costs[one](block, number, residents)
                now_s += 1
                made = Slice(number, position, now_s, work_s, 0.0, residents=residents, batches=9, tokens_out=1)
                taken[block, one].append(replace(made, energy=(energy(PACKAGE, work_s),)))
    return [replace(result(c, block), slices=tuple(own), utilisation=()) for (block, c), own in taken.items()]


def noise(sd: float, seed: int) -> Cost:
    made = np.random.default_rng(seed)
    return lambda _block, _round, _residents: math.exp(made.normal(0, sd))


def changed(results: Sequence[Result], of: Configuration, change: Callable[[Slice], Slice]) -> list[Result]:
    return [replace(r, slices=tuple(map(change, r.slices))) if r.trial.configuration == of else r for r in results]


def warnings(results: Sequence[Result], ahead: Margins | None = None) -> dict[Kind, RaceWarning]:
    costs = run_costs(results, time_cost, lambda _result: None)
    found = race_warnings(results, costs, time_cost, ahead or margins(costs.episodes, TORCH.key))
    assert len({w.kind for w in found}) == len(found), found
    assert all(w.sentence and "\n" not in w.sentence for w in found)
    return {w.kind: w for w in found}


CLEAN = {TORCH: noise(0.01, 1), ONNX: noise(0.01, 2), OPENVINO: noise(0.01, 3)}


def test_a_clean_race_is_not_warned_of() -> None:
    assert warnings(race(CLEAN)) == {}


def test_no_slices_no_warnings() -> None:
    assert warnings([result(TORCH, 0), result(ONNX, 0)], Margins(TORCH.key, {})) == {}


def test_leads_are_mean_differences_over_shared_episodes() -> None:
    episodes = [
        Levels({"a": 0.0, "b": 0.2}, 0.0, 4),
        Levels({"a": 1.0, "b": 1.4, "c": 3.0}, 0.0, 4),
        Levels({"c": 9.0}, 0, 4),
    ]
    ahead = margins(episodes, "a")
    assert ahead.leads == pytest.approx({"b": 0.3, "c": 2.0})


def test_what_could_overturn_a_choice() -> None:
    """b is 10 % dearer, c twice as dear; 3 % are a tie."""
    ahead = Margins("a", {"b": math.log(1.1), "c": math.log(2)})
    # b may be 13 % too dear: then it saves less than 3 %.
    assert not ahead.overturned_by(math.log(1.13), "b")
    assert ahead.overturned_by(math.log(1.14), "b")
    assert not ahead.overturned_by(math.log(1.14), "c")
    # The choice, or anybody, may be as much too cheap.
    assert ahead.overturned_by(math.log(1.14), "a")
    assert ahead.overturned_by(math.log(1.14))
    assert not ahead.overturned_by(9.9, "nobody")


def test_blocked_processes() -> None:
    """Half a CPU for a slice of 1 s; the slice was repeated."""
    disturbed = Slice(0, 0, 5.5, 1.0, 0.0, fault="blocked", blocked_cpu_s=0.5, blocked_by=ONNX.key)
    results = race(CLEAN)
    results[0] = replace(results[0], slices=(disturbed, *results[0].slices))
    found = warnings(results)[Kind.BLOCKED]
    assert (found.configuration, found.size, found.threshold) == (ONNX.key, 0.5, 0.01)
    assert found.sentence == (
        "onnx/cpu/fp32/b1 keeps a CPU busy after its last step: 50 % of one while another was measured (limit 1 %); "
        "a slice was measured again"
    )
    assert not found.could_overturn


def test_company() -> None:
    """ONNX joins first and costs half as much again beside the others."""

    def dearer(block: int, number: int, residents: int) -> float:
        return CLEAN[ONNX](block, number, residents) * (1.5 if residents > 1 else 1.0)

    found = warnings(race({**CLEAN, ONNX: dearer}, join=[ONNX, TORCH, OPENVINO]))
    assert set(found) == {Kind.COMPANY}
    assert found[Kind.COMPANY].configuration == ONNX.key
    assert found[Kind.COMPANY].size == pytest.approx(0.5, abs=0.05)
    # Alone it would be as cheap as the choice, and no cheaper.
    assert not found[Kind.COMPANY].could_overturn
    assert "more while the other configurations are loaded" in found[Kind.COMPANY].sentence


@pytest.mark.parametrize(("first_s", "size", "words"), [(1.3, 0.0914, "slower"), (0.75, 0.0914, "faster")])
def test_drift_within_a_slice(first_s: float, size: float, words: str) -> None:
    """The first third takes 1.3 (0.75) times as long a token: about a third of ln 1.3 (0.75) of all."""
    results = changed(race(CLEAN), ONNX, lambda s: replace(s, first_third_s=first_s, last_third_s=1.0))
    found = warnings(results)
    assert set(found) == {Kind.DRIFT}
    assert found[Kind.DRIFT].size == pytest.approx(size, abs=0.001)
    assert words in found[Kind.DRIFT].sentence


def test_a_growing_context_is_no_drift() -> None:
    results = changed(race(CLEAN), ONNX, lambda s: replace(s, first_third_s=0.7, last_third_s=1.0, batches=2))
    assert warnings(results) == {}


def test_predecessor() -> None:
    """TORCH costs 1.2 times as much after another; of the first in a random round, one in three follows its own."""
    results = race(CLEAN, rounds=20, shuffled=True)
    for block in range(3):
        own = [(s, r.trial.configuration) for r in results if r.trial.block == block for s in r.slices]
        own.sort(key=lambda pair: pair[0].start_s)
        for (_, before), (one, after) in pairwise(own):
            if after == TORCH != before:
                dearer = replace(one, work_s=1.2 * one.work_s)
                results = [
                    replace(r, slices=tuple(dearer if s is one else s for s in r.slices))
                    if r.trial.block == block
                    else r
                    for r in results
                ]
    found = warnings(results)
    assert found[Kind.PREDECESSOR].configuration == TORCH.key
    assert found[Kind.PREDECESSOR].size == pytest.approx(0.2, abs=0.02)
    assert "after another configuration's than after one of its own" in found[Kind.PREDECESSOR].sentence


def test_spikes_that_are_one_s_own() -> None:
    """Every fourth slice of ONNX costs five times as much: a mean of 2, and a robust level of 1."""

    def spiky(block: int, number: int, residents: int) -> float:
        return CLEAN[ONNX](block, number, residents) * (5.0 if number % 4 == 3 else 1.0)

    found = warnings(race({**CLEAN, ONNX: spiky}, rounds=12))
    assert found[Kind.SPIKES].configuration == ONNX.key
    assert found[Kind.SPIKES].size == pytest.approx(1.0, abs=0.1)
    assert found[Kind.SPIKES].sentence.startswith("onnx/cpu/fp32/b1: 9 of 36 slices are far above the others")


def test_spikes_that_strike_all_are_the_machine_s() -> None:
    def struck(quiet: Cost) -> Cost:
        return lambda block, number, residents: quiet(block, number, residents) * (5.0 if number % 4 == 3 else 1.0)

    assert Kind.SPIKES not in warnings(race({c: struck(cost) for c, cost in CLEAN.items()}, rounds=12))


def test_scatter_beyond_the_prior() -> None:
    """Levels of ONNX: 0, 0.9 and -0.9; the others stay. Of three by three, residuals have 4 degrees of freedom."""
    levels = (0.0, 0.9, -0.9)

    def unsteady(block: int, number: int, residents: int) -> float:
        return CLEAN[ONNX](block, number, residents) * math.exp(levels[block])

    found = warnings(race({**CLEAN, ONNX: unsteady}))
    assert set(found) == {Kind.SCATTER}
    # Squares: 2 x 0.81 x (1 - 1/3), over 4.
    assert found[Kind.SCATTER].size == pytest.approx(math.sqrt(1.62 * (2 / 3) / 4), abs=0.01)
    assert found[Kind.SCATTER].configuration is None
    assert found[Kind.SCATTER].could_overturn
    assert Kind.SCATTER not in warnings(race({**CLEAN, ONNX: unsteady}, blocks=2))


def test_rounds_that_are_alike() -> None:
    """ONNX is 20 % dearer for the first half of each episode, and 20 % cheaper for the second."""

    def slow(block: int, number: int, residents: int) -> float:
        return CLEAN[ONNX](block, number, residents) * (1.2 if number < 6 else 0.8)

    found = warnings(race({**CLEAN, ONNX: slow}, rounds=12))
    assert found[Kind.AUTOCORRELATION].size > 0.6
    assert found[Kind.AUTOCORRELATION].threshold == 0.3


def sampled(results: Sequence[Result], of: Callable[[int], dict[str, object]]) -> list[Result]:
    """The results, each with two samples in its second slice and one outside of any; `of` a block."""
    made = []
    for one in results:
        inside = one.slices[1].start_s + 0.1
        samples = [UtilisationSample(inside + shift, **of(one.trial.block)) for shift in (0.0, 0.1)]  # type: ignore[arg-type]
        outside = UtilisationSample(-1.0, gpu_throttled=True, gpu_clock_mhz=1.0, gpu_temperature_c=500.0)
        made.append(replace(one, utilisation=(outside, *samples)))
    return made


def only(results: Sequence[Result]) -> RaceWarning:
    """The one warning, of TORCH; the others have no samples."""
    kept = [r if r.trial.configuration == TORCH else replace(r, utilisation=()) for r in results]
    (found,) = warnings(kept).values()
    assert found.configuration == TORCH.key
    return found


def test_throttling() -> None:
    found = only(sampled(race(CLEAN), lambda block: {"gpu_throttled": block == 0}))
    assert (found.kind, found.threshold) == (Kind.THROTTLED, 0.01)
    assert found.size == pytest.approx(1 / 3)
    assert "33.3 %" in found.sentence
    assert found.could_overturn


@pytest.mark.parametrize("field", ["gpu_clock_mhz", "cpu_clock_mhz"])
def test_a_clock_that_changes(field: str) -> None:
    found = only(sampled(race(CLEAN), lambda block: {field: 2000.0 - 100 * block}))
    assert found.kind is Kind.CLOCK
    assert found.size == pytest.approx(0.1)
    assert "from 2000 to 1800 MHz" in found.sentence
    assert warnings(sampled(race(CLEAN), lambda block: {field: 2000.0 - 40 * block})) == {}


def test_a_board_that_warms_up() -> None:
    found = only(sampled(race(CLEAN), lambda block: {"gpu_temperature_c": 50.0 + 8 * block}))
    assert (found.kind, found.size, found.threshold) == (Kind.TEMPERATURE, 16.0, 10.0)
    assert not found.could_overturn
    assert warnings(sampled(race(CLEAN), lambda block: {"gpu_temperature_c": 50.0 + 4 * block})) == {}


def test_a_counter_that_is_too_coarse() -> None:
    coarse = changed(race(CLEAN), ONNX, lambda s: replace(s, energy=(energy(PACKAGE, 10.0, error_j=1.0),)))
    (found,) = warnings(coarse).values()
    assert (found.kind, found.configuration, found.size) == (Kind.QUANTUM, ONNX.key, 0.1)
    # Over 24 slices it is 2 %.
    assert not found.could_overturn


def test_estimated_joules_in_a_close_race() -> None:
    guessed = replace(energy(PACKAGE, 1.0), grade=Grade.ESTIMATED)
    results = changed(race(CLEAN), ONNX, lambda s: replace(s, energy=(guessed,)))
    found = warnings(results, Margins(TORCH.key, {ONNX.key: math.log(1.05), OPENVINO.key: 1.0}))
    assert set(found) == {Kind.ESTIMATED}
    assert found[Kind.ESTIMATED].size == pytest.approx(0.05)
    assert found[Kind.ESTIMATED].could_overturn
    assert warnings(results, Margins(TORCH.key, {ONNX.key: math.log(1.15)})) == {}


def test_outputs_that_differ() -> None:
    """One of eight tokens of ONNX in every episode; a lower precision may."""
    other = ((10, 11, 12, 13), (20, 21, 22, 99))
    results = [replace(r, outputs=other) if r.trial.configuration == ONNX else r for r in race(CLEAN)]
    found = warnings(results)[Kind.OUTPUTS]
    assert (found.configuration, found.size) == (ONNX.key, 0.125)
    assert found.threshold == pytest.approx(0.01)
    assert found.could_overturn  # the choice is the one that it differs from
    narrow = replace(ONNX, precision=Precision.INT8)
    assert (
        warnings(
            [replace(r, trial=replace(r.trial, configuration=narrow)) if r.outputs == other else r for r in results]
        )
        == {}
    )


def test_outputs_that_change_from_process_to_process() -> None:
    results = race(CLEAN)
    place = next(i for i, r in enumerate(results) if r.trial.configuration == ONNX and r.trial.block == 2)
    results[place] = replace(results[place], outputs=((10, 11, 12, 13), (20, 21, 0, 0)))
    found = race_warnings(
        results, run_costs(results, time_cost, lambda _result: None), time_cost, Margins(TORCH.key, {ONNX.key: 0.0})
    )
    assert [(w.kind, w.configuration, w.size) for w in found] == [
        (Kind.OUTPUTS, ONNX.key, 0.125),  # two tokens of eight, in one of two later episodes
        (Kind.OUTPUTS, ONNX.key, pytest.approx(1 / 12)),  # beside the reference in fp32, over three
    ]


def test_those_that_could_overturn_the_choice_come_first() -> None:
    results = sampled(race(CLEAN), lambda block: {"gpu_temperature_c": 50.0 + 8 * block})
    results = changed(results, OPENVINO, lambda s: replace(s, first_third_s=2.0, last_third_s=1.0))
    costs = run_costs(results, time_cost, lambda _result: None)
    found = race_warnings(results, costs, time_cost, margins(costs.episodes, TORCH.key))
    assert [w.could_overturn for w in found] == sorted((w.could_overturn for w in found), reverse=True)
    assert found[0].kind is Kind.DRIFT


def test_failed_trials_say_nothing() -> None:
    results = changed(race(CLEAN), ONNX, lambda s: replace(s, first_third_s=2.0, last_third_s=1.0))
    assert warnings([replace(r, status=Status.FAILED) for r in results], Margins(TORCH.key, {})) == {}
