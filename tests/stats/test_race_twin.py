"""What a configuration that is measured twice at once shows: the bench's own differences."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from servewatt.records import Configuration, Result, Slice, Status
from servewatt.stats.race import Levels, standing
from servewatt.stats.race.costs import Costs, run_costs, time_cost
from servewatt.stats.race.pairs import compare_costs
from servewatt.stats.race.twin import Floor, twin_floor
from servewatt.stats.records import Verdict
from tests.harness.builders import fake, trial

A, B = fake(step_ms=1), fake(step_ms=2)


def part(round_: int, work_s: float, *, twin: bool = False, fault: str = "") -> Slice:
    return Slice(round_, 0, 0.0, work_s, 0.0, tokens_out=10, batches=1, twin=twin, fault=fault)


def result(folder: Path, block: int, own: list[Slice], twin: list[Slice], status: Status = Status.OK) -> Result:
    return Result(trial(folder, A, block=block), status, slices=tuple(own), twin_slices=tuple(twin))


def test_the_floor_is_the_mean_difference_and_its_standard_error(tmp_path: Path) -> None:
    results = [
        result(tmp_path, block, [part(n, 1.0) for n in range(6)], [part(n, ratio, twin=True) for n in range(6)])
        for block, ratio in enumerate((1.01, 1.03))
    ]
    floor = twin_floor(results, time_cost)
    assert floor is not None
    logs = [math.log(1.01), math.log(1.03)]
    assert floor.differences == pytest.approx(logs)
    mean, spread = sum(logs) / 2, abs(logs[0] - logs[1]) / math.sqrt(2)
    assert floor.size == pytest.approx(mean + spread / math.sqrt(2))
    assert Floor((-0.002,)).size == pytest.approx(0.002)


def test_rounds_without_both_slices_and_short_episodes_count_for_nothing(tmp_path: Path) -> None:
    own = [part(-1, 5.0), *(part(n, 1.0) for n in range(5)), part(5, 9.0, fault="others used the machine")]
    twin = [*(part(n, 1.02, twin=True) for n in range(1, 5)), part(5, 1.0, twin=True)]
    floor = twin_floor([result(tmp_path, 0, own, twin)], time_cost)
    assert floor is not None
    assert floor.differences == pytest.approx([math.log(1.02)])
    assert twin_floor([result(tmp_path, 0, own, twin[1:])], time_cost) is None
    assert twin_floor([result(tmp_path, 0, own, twin, Status.INVALID)], time_cost) is None
    assert twin_floor([result(tmp_path, 0, own, [])], time_cost) is None


def episodes(lead: float, count: int = 6) -> tuple[Levels, ...]:
    return tuple(Levels({A.key: 0.0, B.key: lead + 0.0001 * (n % 2)}, 1e-6, 8) for n in range(count))


def test_nothing_is_claimed_below_the_floor() -> None:
    keys = [A.key, B.key]
    without = standing(episodes(0.2), keys, tie=0.001)
    assert set(without.dropped) == {B.key}
    with_floor = standing(episodes(0.2), keys, tie=0.001, floor=0.25)
    assert not with_floor.dropped
    assert with_floor.promise == pytest.approx(-math.expm1(-0.25))
    assert not with_floor.decided
    # A wide enough tie settles it all the same.
    assert standing(episodes(0.2), keys, tie=0.3, floor=0.25).decided


def test_a_ratio_within_the_floor_is_undecided() -> None:
    def verdict(floor: Floor | None, first: Configuration, second: Configuration) -> Verdict:
        costs = Costs(episodes(0.2), tuple(range(6)), duet=True, floor=floor)
        compared = compare_costs(costs, first, second, error=0.05)
        assert compared is not None
        return compared.verdict

    assert (verdict(None, A, B), verdict(None, B, A)) == (Verdict.LOWER, Verdict.HIGHER)
    assert {verdict(Floor((0.25,)), *pair) for pair in ((A, B), (B, A))} == {Verdict.UNDECIDED}
    assert verdict(Floor((0.001,)), A, B) is Verdict.LOWER
    assert Costs(episodes(0.2), tuple(range(6)), floor=Floor((0.25,))).of([A.key]).least_claim == pytest.approx(0.25)


def test_the_costs_of_a_run_have_its_floor_and_not_its_twin(tmp_path: Path) -> None:
    own, twin = [part(n, 1.0) for n in range(4)], [part(n, 1.5, twin=True) for n in range(4)]
    costs = run_costs([result(tmp_path, 0, own, twin)], time_cost, lambda _result: None)
    assert costs.least_claim == pytest.approx(math.log(1.5))
    assert costs.episodes[0].log_cost[A.key] == pytest.approx(math.log(0.1))
