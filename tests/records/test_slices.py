"""The result of a trial from its slices, by numbers worked out by hand; and what a race costs by them."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.records import Generation, Plan, Procedure, Race, Result, Section, Slice, Status
from servewatt.records.slices import batches_per_pass, corrected, finished, with_slices
from servewatt.stats.race.costs import energy_cost, run_costs, time_cost
from servewatt.store import read_file
from tests.stats.builders import GPU, ONNX, PACKAGE, TORCH, WORKLOAD, energy, result, run, section

IDLE = section("idle", 2.0, energy(PACKAGE, 4.0), energy(GPU, 20.0))
"""2 W and 10 W."""


def part(number: int, package_j: float = 12.0, gpu_j: float = 30.0, **changes: object) -> Slice:
    """1 s of work and half a second more until the counter stepped."""
    made = Slice(
        number, 0, 10.0 + number, 1.0, 0.5, (energy(PACKAGE, package_j, error_j=0.5), energy(GPU, gpu_j)), own_cpu_s=0.9
    )
    made = replace(made, foreign_cpu_s=0.1, stolen_cpu_s=0.0, batches=3, tokens_in=7, tokens_out=20)
    return replace(made, **changes)  # type: ignore[arg-type]


def ready() -> Result:
    return replace(result(TORCH), sections=(section("load", 1.0), IDLE), generations=(), slices=())


def test_the_tail_is_taken_off_at_idle_power() -> None:
    """Half a second of 2 W and 10 W."""
    assert [e.energy_j for e in corrected(part(0), IDLE)] == [11.0, 25.0]
    assert corrected(part(0, tail_s=0.0), IDLE) == part(0).energy


def test_without_idle_power_the_tail_has_its_share_of_the_time() -> None:
    """A third of the 1.5 s."""
    assert [e.energy_j for e in corrected(part(0), None)] == [8.0, 20.0]
    without_gpu = replace(IDLE, energy=IDLE.energy[:1])
    assert [e.energy_j for e in corrected(part(0), without_gpu)] == [11.0, 20.0]
    assert [e.energy_j for e in corrected(part(0), Section("idle", 0.0, 0.0, IDLE.energy))] == [8.0, 20.0]


def test_no_more_than_the_tail_s_share_is_taken_off() -> None:
    """The idle section drew more than the slice itself: 3 J in 1.5 s."""
    assert [e.energy_j for e in corrected(part(0, package_j=1.5, gpu_j=3.0), IDLE)] == [1.0, 2.0]


def test_the_section_is_the_sum_of_what_counts() -> None:
    """The slice on joining and one with a fault are kept and left out."""
    one = Generation(0, 1, 10.0, 0.1, (0.1,), 2)
    slices = [
        part(-1, package_j=999.0),
        part(0, generations=(one,)),
        part(1, fault="disturbed", package_j=999.0, generations=(one,)),
        part(1, attempt=1, generations=(one, one)),
    ]
    whole = with_slices(ready(), slices)
    found = whole.section("generate")
    assert found is not None
    assert [e.energy_j for e in found.energy] == [22.0, 50.0]
    assert [e.error_j for e in found.energy] == [1.0, 0.0]
    assert (found.start_s, found.duration_s, found.tokens_in, found.tokens_out) == (10.0, 2.0, 14, 40)
    assert found.own_cpu_s == pytest.approx(1.8)
    assert found.foreign_cpu_s == pytest.approx(0.2)
    assert found.stolen_cpu_s == 0.0
    # Six batches of one prompt; a pass has two.
    assert (batches_per_pass(WORKLOAD, 1), found.passes) == (2, 3)
    assert whole.generations == (one, one, one)
    assert whole.slices == tuple(replace(s, generations=()) for s in slices)
    assert [s.name for s in whole.sections] == ["load", "idle", "generate"]
    # Once more with the same slices it is the same.
    assert with_slices(whole, whole.slices) == whole


def test_a_domain_that_a_slice_lacks_has_no_sum() -> None:
    lacking = part(1, energy=(energy(PACKAGE, 12.0),), foreign_cpu_s=None)
    found = with_slices(ready(), [part(0), lacking]).section("generate")
    assert found is not None
    assert [(e.domain, e.energy_j) for e in found.energy] == [("cpu:package-0", 22.0)]
    assert found.foreign_cpu_s is None


def test_without_a_slice_that_counts_there_is_no_section() -> None:
    for slices in ([], [part(-1)], [part(0, fault="disturbed")]):
        assert with_slices(ready(), slices).section("generate") is None


def test_four_slices_must_count() -> None:
    three = [part(-1), *(part(n) for n in range(3))]
    assert finished(ready(), [*three, part(3)]).status is Status.OK
    short = finished(ready(), three)
    assert (short.status, short.reason) == (Status.INVALID, "3 of 3 slices count, and 4 are needed")
    disturbed = finished(ready(), [*three, part(3, fault="a"), part(4, fault="b"), part(5, fault="b")])
    assert disturbed.reason == "3 of 6 slices count, and 4 are needed: b"
    failed = replace(ready(), status=Status.FAILED, reason="own")
    assert finished(failed, three).reason == "own"


def test_a_batch_that_repeats_prompts_is_a_pass() -> None:
    assert [batches_per_pass(WORKLOAD, batch) for batch in (1, 2, 3, 64)] == [2, 1, 1, 1]


# --- costs -------------------------------------------------------------------------------------------------------

BOTH = frozenset({PACKAGE.name, GPU.name})


def sliced(configuration: object, block: int, costs: dict[int, float]) -> Result:
    """Slices of 20 tokens whose GPU energy is 20 times `costs`, with no tail."""
    slices = tuple(part(n, package_j=0.0, gpu_j=20 * cost, tail_s=0.0) for n, cost in costs.items())
    return replace(result(configuration, block), slices=slices)  # type: ignore[arg-type]


def test_the_cost_of_a_slice() -> None:
    """36 J over 20 tokens once the tail is off; 1 s of work over 20 tokens."""
    whole = with_slices(ready(), [part(0)])
    assert energy_cost(BOTH)(whole, part(0)) == pytest.approx(1.8)
    assert energy_cost(frozenset({GPU.name}))(whole, part(0)) == pytest.approx(1.25)
    assert time_cost(whole, part(0)) == 0.05
    assert energy_cost(BOTH | {"dram:0"})(whole, part(0)) is None
    assert energy_cost(frozenset())(whole, part(0)) is None
    assert energy_cost(BOTH)(whole, part(0, tokens_out=0)) is time_cost(whole, part(0, tokens_out=0)) is None


def test_episodes_and_trials_of_one_run() -> None:
    """Block 0 is one trial after another; block 1 an episode in which ONNX costs twice as much in every round."""
    results = [
        replace(result(TORCH, 0)),
        replace(result(ONNX, 0)),
        sliced(TORCH, 1, {-1: 500.0, 0: 1.0, 1: 3.0}),
        sliced(ONNX, 1, {-1: 1.0, 0: 2.0, 1: 6.0}),
        replace(sliced(ONNX, 2, {0: 1.0}), status=Status.CRASHED),
    ]
    costs = run_costs(results, energy_cost(BOTH), lambda r: 1.5 if r.trial.configuration == ONNX else 1.0)
    assert (costs.blocks, costs.duet) == ((0, 1), True)
    differences = [levels.log_cost[ONNX.key] - levels.log_cost[TORCH.key] for levels in costs.episodes]
    assert differences == pytest.approx([math.log(1.5), math.log(2)])
    assert [levels.rounds for levels in costs.episodes] == [1, 2]
    alone = costs.of([TORCH.key])
    assert [set(levels.log_cost) for levels in alone.episodes] == [{TORCH.key}] * 2


def test_the_last_valid_result_of_a_trial_counts() -> None:
    first, second = sliced(TORCH, 0, {0: 1.0}), sliced(TORCH, 0, {0: 4.0})
    costs = run_costs([first, second], energy_cost(BOTH), lambda _r: None)
    assert costs.episodes[0].log_cost[TORCH.key] == pytest.approx(math.log(4))


def test_slices_that_share_no_round_followed_one_another() -> None:
    """Where memory holds one process, it is no duet: what is known of trials one after another counts."""
    results = [sliced(TORCH, 0, {0: 1.0, 1: 1.0}), sliced(ONNX, 0, {2: 2.0, 3: 2.0})]
    costs = run_costs(results, energy_cost(BOTH), lambda _r: None)
    assert not costs.duet
    levels = costs.episodes[0].log_cost
    assert levels[ONNX.key] - levels[TORCH.key] == pytest.approx(math.log(2))


# --- the digest of a plan ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["h200-bundled", "h200-pythia-410m"])
def test_runs_of_before_keep_their_digests(name: str) -> None:
    """As earlier versions computed it: the repr of the procedure had no `duet` and no `slice_s`."""
    path = Path(__file__).parents[2] / "examples" / f"{name}.json.gz"
    plan = read_file(path)[0].plan
    assert b"slice_s" not in gzip.decompress(path.read_bytes())
    assert (
        plan.digest
        == {
            "h200-bundled": "690abbe667902fca23c82b6c9209cc21abebc033ecf1ed934f34fff62249088d",
            "h200-pythia-410m": "0ed49238b237b01d21dd890e1deb1144e4128bdeda6172800119118002e2216d",
        }[name]
    )


def test_only_what_is_used_tells_plans_apart() -> None:
    plan = run().plan

    def digest(**changes: object) -> str:
        return replace(plan, procedure=replace(plan.procedure, **changes)).digest  # type: ignore[arg-type]

    assert digest(slice_s=9.0) == digest(blocks=99) == plan.digest
    assert digest(duet=True) != plan.digest
    assert digest(duet=True, slice_s=9.0) != digest(duet=True)
    assert digest(settle_s=9.0) != plan.digest
    assert replace(plan, race=Race(60.0)).digest == plan.digest
    assert isinstance(plan, Plan) and isinstance(plan.procedure, Procedure)
