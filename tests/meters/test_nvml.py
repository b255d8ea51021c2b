from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt.errors import RefusedError
from servewatt.meters.energy import domain_energies
from servewatt.meters.nvml import NvmlMeter, first_visible_board, other_gpu_processes, visible_boards
from servewatt.records import Grade
from tests.meters.builders import write_process
from tests.meters.fake_nvml import FakeBoard, FakeNvml, NVMLError


def test_boards_with_a_counter_are_read_in_joules() -> None:
    nvml = FakeNvml(FakeBoard(energy_mj=123_456, power_mw=80_000, limit_mw=700_000), FakeBoard(energy_mj=2_000))
    meter = NvmlMeter(nvml)
    assert meter.unavailable() is None
    assert [(d.name, d.grade, d.quantum_s, d.max_power_w, d.range_j) for d in meter.domains()] == [
        ("gpu:0", Grade.COUNTER, 0.1, 700.0, None),
        ("gpu:1", Grade.COUNTER, 0.1, None, None),
    ]
    assert [(r.domain, r.energy_j) for r in meter.read()] == [("gpu:0", 123.456), ("gpu:1", 2.0)]
    assert [(s.domain, s.power_w) for s in meter.power()] == [("gpu:0", 80.0)]
    meter.close()
    assert nvml.open == 0


def test_a_reading_is_dated_at_the_middle_of_its_slow_call() -> None:
    ticks = itertools.count(10.0, 0.004)
    meter = NvmlMeter(FakeNvml(FakeBoard(energy_mj=1)), clock=lambda: next(ticks))
    assert meter.read()[0].time_s == pytest.approx(10.002)


def test_a_board_without_counter_is_integrated_and_not_read() -> None:
    meter = NvmlMeter(FakeNvml(FakeBoard(power_mw=35_500)))
    assert [d.grade for d in meter.domains()] == [Grade.INTEGRATED]
    assert meter.read() == ()
    assert [s.power_w for s in meter.power()] == [35.5]


def test_instant_power_is_preferred_to_the_average() -> None:
    meter = NvmlMeter(FakeNvml(FakeBoard(power_mw=100_000, instant_mw=250_000)))
    assert [s.power_w for s in meter.power()] == [250.0]


def test_a_counter_that_fails_later_gives_no_reading_rather_than_zero() -> None:
    board = FakeBoard(energy_mj=5)
    meter = NvmlMeter(FakeNvml(board))
    board.energy_mj = None
    assert meter.read() == ()


def test_why_it_is_unavailable() -> None:
    no_driver = NvmlMeter(FakeNvml(starts=False)).unavailable()
    assert no_driver is not None and "Driver Not Loaded" in no_driver[0] and "nvidia-smi" in no_driver[1]
    no_board = NvmlMeter(FakeNvml()).unavailable()
    assert no_board is not None and "no GPU" in no_board[0]
    silent = NvmlMeter(FakeNvml(FakeBoard()))
    assert silent.unavailable() is not None and silent.domains() == () and silent.read() == ()


def test_one_board_of_several() -> None:
    nvml = FakeNvml(FakeBoard(energy_mj=1_000), FakeBoard(energy_mj=2_000))
    assert [(r.domain, r.energy_j) for r in NvmlMeter(nvml, only=1).read()] == [("gpu:1", 2.0)]
    absent = NvmlMeter(nvml, only=2).unavailable()
    assert absent is not None and "no GPU 2" in absent[0] and "nvml:1" in absent[1]


def test_a_partitioned_board_is_told() -> None:
    assert [b.mig for b in NvmlMeter(FakeNvml(FakeBoard(energy_mj=1, mig=True))).boards] == [True]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, (0, 1, 2)),
        ("", ()),
        ("2,0", (2, 0)),
        ("0,-1,1", (0,)),
        ("7", ()),
        ("GPU-bb", (1,)),
        ("GPU-", ()),
        ("GPU-c1,0", (2, 0)),
    ],
)
def test_visible_boards_are_read_as_cuda_reads_them(setting: str | None, expected: tuple[int, ...]) -> None:
    assert visible_boards(setting, ["GPU-aa01", "GPU-bb02", "GPU-c1c1"]) == expected


def test_the_board_of_cuda_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(FakeBoard("GPU-aa"), FakeBoard("GPU-bb"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert first_visible_board(nvml) == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bb")
    assert first_visible_board(nvml) == 1
    assert first_visible_board(nvml, "") is None
    assert first_visible_board(FakeNvml(starts=False)) is None
    assert nvml.open == 0


def test_other_processes_on_a_gpu_are_named(tmp_path: Path) -> None:
    write_process(tmp_path, 10, "ours")
    write_process(tmp_path, 11, "game (fast)")
    nvml = FakeNvml(FakeBoard(processes=[(10, 100), (11, 200)]))
    found = other_gpu_processes({10}, nvml, proc=tmp_path)
    assert found is not None
    assert [(p.gpu, p.pid, p.name, p.memory_bytes) for p in found] == [(0, 11, "game (fast)", 200)]
    assert other_gpu_processes({10, 11}, nvml, proc=tmp_path) == ()
    assert nvml.open == 0


def test_other_processes_are_unknown_where_they_cannot_be_told(tmp_path: Path) -> None:
    assert other_gpu_processes((), FakeNvml(starts=False), proc=tmp_path) is None
    assert other_gpu_processes((), FakeNvml(FakeBoard(processes=None)), proc=tmp_path) is None
    # A process number that /proc does not know belongs to another namespace.
    assert other_gpu_processes((), FakeNvml(FakeBoard(processes=[(99, 1)])), proc=tmp_path) is None


@pytest.mark.parametrize("broken", [FakeBoard(lost=True), FakeBoard()], ids=["lost", "silent"])
def test_one_board_of_two_that_cannot_be_read_is_told(broken: FakeBoard) -> None:
    nvml = FakeNvml(FakeBoard(energy_mj=1_000, power_mw=50_000), broken)
    meter = NvmlMeter(nvml)
    problem = meter.unavailable()
    assert problem is not None
    assert "GPU 1 tells neither energy nor power" in problem[0]
    assert ("GPU is lost" if broken.lost else "Not Supported") in problem[0]
    assert "--meter nvml:0" in problem[1]
    assert (meter.domains(), meter.read(), meter.power(), meter.present) == ((), (), (), True)
    # The board that its user names is enough.
    assert [d.name for d in NvmlMeter(nvml, only=0).domains()] == ["gpu:0"]


def test_a_driver_that_fails_is_not_an_absent_one(tmp_path: Path) -> None:
    mismatch = NvmlMeter(FakeNvml(starts=False, error=NVMLError("Driver/library version mismatch", 18)))
    assert mismatch.present and "mismatch" in (mismatch.unavailable() or ("",))[0]
    assert not NvmlMeter(FakeNvml(starts=False), driver=tmp_path / "none").present
    assert not NvmlMeter(FakeNvml()).present
    nvml = FakeNvml(FakeBoard(energy_mj=1))
    nvml.counts = False
    silent = NvmlMeter(nvml)
    assert silent.present and "fails to count" in (silent.unavailable() or ("",))[0]
    assert other_gpu_processes((), nvml) is None


def test_a_container_without_the_library_still_has_its_gpus(tmp_path: Path) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    missing = NvmlMeter(FakeNvml(starts=False, error=NVMLError("NVML Shared Library Not Found", 12)), driver=tmp_path)
    assert missing.present and "NVML does not start" in (missing.unavailable() or ("",))[0]


def test_a_board_that_fails_while_it_is_measured_is_no_zero() -> None:
    now = [0.0]
    boards = FakeBoard(energy_mj=1_000), FakeBoard(energy_mj=2_000)
    meter = NvmlMeter(FakeNvml(*boards), clock=lambda: now[0])
    first = meter.read()
    boards[0].energy_mj, boards[1].energy_mj = 101_000, None
    now[0] = 1.0
    with pytest.raises(RefusedError, match="gpu:1: the energy counter could not be read at the end"):
        domain_energies(meter.domains(), first, meter.read())


def test_a_counter_that_began_again_with_its_driver_is_refused() -> None:
    now = [0.0]
    board = FakeBoard(energy_mj=5_198_685_762, limit_mw=300_000)
    meter = NvmlMeter(FakeNvml(board), clock=lambda: now[0])
    first = meter.read()
    now[0] = 10.0
    for energy_mj in (3_000, 9_998_685_762):
        board.energy_mj = energy_mj
        with pytest.raises(RefusedError, match="gpu:0: the energy counter"):
            domain_energies(meter.domains(), first, meter.read())


@pytest.mark.parametrize("wrong_mw", [2**32 - 1, 3_700_000, -1])
def test_power_that_no_board_draws_is_left_out(wrong_mw: int) -> None:
    board = FakeBoard(power_mw=wrong_mw, instant_mw=wrong_mw, limit_mw=300_000)
    meter = NvmlMeter(FakeNvml(board))
    assert meter.power() == ()
    # The average stands in for a present power that cannot be.
    board.power_mw = 220_000
    assert [s.power_w for s in meter.power()] == [220.0]


def test_what_stands_for_not_available_is_no_counter_and_no_limit() -> None:
    meter = NvmlMeter(FakeNvml(FakeBoard(energy_mj=2**64 - 1, power_mw=40_000, limit_mw=2**32 - 1)))
    assert [(d.grade, d.max_power_w) for d in meter.domains()] == [(Grade.INTEGRATED, None)]
    assert meter.read() == ()


def test_the_highest_limit_counts_where_a_laptop_moves_it() -> None:
    meter = NvmlMeter(FakeNvml(FakeBoard(energy_mj=1, limit_mw=35_000, most_mw=115_000)))
    assert [d.max_power_w for d in meter.domains()] == [115.0]


ANSWER_MW = st.one_of(st.none(), st.sampled_from([0, -1, 2**32 - 1, 2**63, 2**64 - 1]), st.integers(1, 2**40))


@given(
    st.lists(
        st.builds(
            FakeBoard,
            energy_mj=ANSWER_MW,
            power_mw=ANSWER_MW,
            instant_mw=ANSWER_MW,
            limit_mw=ANSWER_MW,
            most_mw=ANSWER_MW,
            mig=st.booleans(),
            lost=st.booleans(),
        ),
        max_size=3,
    )
)
def test_whatever_its_driver_answers_some_boards_are_never_all(boards: list[FakeBoard]) -> None:
    meter = NvmlMeter(FakeNvml(*boards))
    if meter.unavailable() is None:
        assert [d.name for d in meter.domains()] == [f"gpu:{n}" for n in range(len(boards))]
        assert not any(board.lost for board in boards)
    domains = {d.name: d for d in meter.domains()}
    assert all(0 <= s.power_w <= 3000 for s in meter.power())
    assert {r.domain for r in meter.read()} == {n for n, d in domains.items() if d.grade is Grade.COUNTER}
    assert all(d.max_power_w is None or 0 < d.max_power_w <= 3000 for d in domains.values())
    meter.close()
