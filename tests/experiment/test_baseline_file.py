"""Baseline files: what is kept, and every way in which one cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt.errors import InputError, ServewattError, StoreError
from servewatt.experiment.baseline_file import baseline_text, read_side, side_of, write_baseline
from servewatt.experiment.comparing import any_side
from servewatt.experiment.gathering import Found
from servewatt.recommendation.gate import compare_sides
from servewatt.records import Boundary, Status
from servewatt.store import Store
from servewatt.store.files import write_file
from tests.report.races import ONNX, OPENVINO, TORCH, race
from tests.stats.builders import TORCH as BLOCKS_TORCH
from tests.stats.builders import failed, result, run

RACE = race({OPENVINO: 1.0, ONNX: 1.05})


def test_a_side_has_the_costs_of_each_episode() -> None:
    """120 J or 80 J over 40 tokens in 10 s."""
    made = Found(run((BLOCKS_TORCH,)), [result(block=0), result(block=1, package_j=40.0)])
    costs = side_of(made).configurations["torch/cpu/fp32/b1"]
    assert costs.energy_j_per_token == pytest.approx((3.0, 2.0))
    assert costs.s_per_token == pytest.approx((0.25, 0.25))
    assert costs.engine_version == "2.13"
    assert side_of(made, Boundary.CPU).configurations["torch/cpu/fp32/b1"].energy_j_per_token == pytest.approx((2, 1))


def test_what_failed_is_absent_with_its_reason() -> None:
    made = Found(run(), [result(), failed(run().plan.configurations[1], 0, Status.CRASHED, "SIGSEGV")])
    assert side_of(made).absent == {"onnx/cpu/fp32/b1": "crashed: SIGSEGV"}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    write_baseline(RACE, path)
    known, whole = read_side(path), side_of(RACE)
    assert (known.fingerprint, known.run, known.absent) == (whole.fingerprint, whole.run, whole.absent)
    for key, costs in whole.configurations.items():
        assert known.configurations[key].energy_j_per_token == pytest.approx(costs.energy_j_per_token, rel=1e-5)
    assert str(path) in known.name
    assert len(path.read_text().splitlines()) > 40, "a diff shows what changed, a line each"


def test_the_prompts_are_not_in_it() -> None:
    """Only their digest: they may be anything."""
    told = json.loads(baseline_text(RACE))
    assert "prompts" not in json.dumps(told["configurations"])
    assert told["fingerprint"]["work"]["prompts"] == len(RACE.run.plan.workload.prompts)


def test_an_exported_run_is_a_baseline_too(tmp_path: Path) -> None:
    path = tmp_path / "run.json.gz"
    write_file(path, RACE.run, RACE.results)
    assert read_side(path).configurations == side_of(RACE).configurations


def test_a_later_race_is_compared_with_it(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    write_baseline(RACE, path)
    later = race({OPENVINO: 1.0, ONNX: 1.05}, seed=7)
    later = replace(later, run=replace(later.run, id="run-2"))
    verdict = compare_sides(read_side(path), side_of(later))
    assert [one.ratio.estimate for one in verdict.compared] == pytest.approx([1.0, 1.0], abs=0.01)


def test_a_run_without_costs_is_no_baseline() -> None:
    made = Found(run((BLOCKS_TORCH,)), [failed(BLOCKS_TORCH, 0, Status.FAILED, "no")])
    with pytest.raises(InputError, match="no configuration with a cost"):
        baseline_text(made)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format_version=2), "a baseline of version 2; this servewatt reads up to version 1"),
        (lambda d: d.update(format_version=0), "is damaged: it has version 0"),
        (lambda d: d.update(format_version="1x"), "is damaged"),
        (lambda d: d.update(format="other"), "is not a baseline file"),
        (lambda d: d.pop("fingerprint"), "is damaged"),
        (lambda d: d.pop("configurations"), "is damaged"),
        (lambda d: d["fingerprint"].pop("machine"), "is damaged"),
        (lambda d: next(iter(d["configurations"].values()))["s_per_token"].append(-1), "is not above zero"),
        (lambda d: next(iter(d["configurations"].values())).update(s_per_token=[0]), "is not above zero"),
        (lambda d: next(iter(d["configurations"].values())).update(s_per_token=["x"]), "is damaged"),
    ],
)
def test_a_damaged_one_is_refused(change: Change, message: str, tmp_path: Path) -> None:
    document = json.loads(baseline_text(RACE))
    change(document)
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps(document))
    with pytest.raises((InputError, StoreError), match=message) as caught:
        read_side(path)
    assert caught.value.hint


def test_another_boundary_is_not_in_it(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    write_baseline(RACE, path)
    with pytest.raises(InputError, match="of the energy of the machine, not of the gpu"):
        read_side(path, Boundary.GPU)


WHOLE = baseline_text(race({TORCH: 1.0}, episodes=2)).encode()


@given(st.integers(0, len(WHOLE) - 3), st.binary(max_size=4))
def test_a_file_cut_or_altered_anywhere_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, place: int, instead: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "baseline.json"
    for content in (WHOLE[:place], WHOLE[:place] + instead + WHOLE[place + len(instead) :]):
        path.write_bytes(content)
        try:
            read_side(path)
        except ServewattError as error:
            assert error.hint
        else:
            assert len(content) >= len(WHOLE) - 4


def test_latest_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        any_side("latest", tmp_path / "none.db")
    with Store.open(tmp_path / "empty.db"):
        pass
    with pytest.raises(InputError, match=r"latest|no runs"):
        any_side("latest", tmp_path / "empty.db")
