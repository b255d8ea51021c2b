"""Windows of an `EnergyMeter`, with joules worked out by hand: power times seconds of a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from servewatt import meters
from servewatt.api.energy_meter import EnergyMeter
from servewatt.errors import InputError, RefusedError, UnavailableError
from servewatt.meters.fake import FakeMeter
from servewatt.meters.replay import ReplayMeter
from servewatt.records import Grade, Reading

WATTS = {"cpu:package-0": 20.0, "gpu:0": 100.0}


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def move(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


def fake(clock: Callable[[], float]) -> FakeMeter:
    return FakeMeter(WATTS, clock=clock)


def test_nested_windows_have_their_own_joules_and_the_whole_has_all(clock: Clock) -> None:
    with EnergyMeter([fake(clock)]) as meter:
        clock.move(1.0)
        with meter.window("outer") as outer:
            clock.move(2.0)
            with meter.window("inner") as inner:
                clock.move(3.0)
        clock.move(4.0)
    # 20 W + 100 W for 3 s, 2 + 3 s and 1 + 2 + 3 + 4 s.
    assert inner.result.energy_j == pytest.approx(360.0)
    assert outer.result.energy_j == pytest.approx(600.0)
    assert meter.result.energy_j == pytest.approx(1200.0)
    assert [w.name for w in meter.windows] == ["inner", "outer", "all"]
    assert meter.result.duration_s == pytest.approx(10.0)
    assert meter.result.power_w == pytest.approx(120.0)
    assert inner.result.of("gpu:0").energy_j == pytest.approx(300.0)
    assert (inner.result.grade, inner.result.error_j) == ("counter", 0.0)


def test_named_windows_may_overlap_and_be_used_again(clock: Clock) -> None:
    with EnergyMeter([fake(clock)]) as meter:
        meter.begin("a")
        clock.move(1.0)
        meter.begin("b")
        clock.move(2.0)
        first = meter.end("a")
        clock.move(3.0)
        second = meter.end("b")
        meter.begin("a")
        clock.move(0.5)
        again = meter.end("a")
    assert [w.energy_j for w in (first, second, again)] == pytest.approx([360.0, 600.0, 60.0])
    assert [w.name for w in meter.windows] == ["a", "b", "a", "all"]


def test_wrong_names_are_told(clock: Clock) -> None:
    with EnergyMeter([fake(clock)]) as meter:
        meter.begin("decode")
        with pytest.raises(InputError, match="window decode is open already"):
            meter.begin("decode")
        with pytest.raises(InputError, match="no window dcode is open") as error:
            meter.end("dcode")
        assert "did you mean decode" in error.value.hint
        with pytest.raises(InputError, match="has not ended yet"):
            _ = meter.window("x").result
        with pytest.raises(InputError, match="has not been closed yet"):
            _ = meter.result
        with pytest.raises(InputError, match="is open already"):
            meter.__enter__()
    with pytest.raises(InputError, match="the meter is not open"):
        meter.begin("late")
    with pytest.raises(InputError, match="gpu:1 was not metered") as unknown:
        meter.result.of("gpu:1")
    assert "did you mean gpu:0" in unknown.value.hint


def test_a_coarse_counter_has_a_bound_of_its_error(clock: Clock) -> None:
    with EnergyMeter([FakeMeter({"gpu:0": 100.0}, quantum_s=0.1, clock=clock)]) as meter:
        clock.move(2.0)
    # A step of 0.1 s at no more than the 100 W that the domain can draw, at either end in opposite directions.
    assert meter.result.error_j == pytest.approx(10.0)
    assert abs(meter.result.energy_j - 200.0) <= meter.result.error_j


def test_a_counter_that_wraps_is_corrected(clock: Clock) -> None:
    with EnergyMeter([FakeMeter({"cpu:package-0": 20.0}, range_j=50.0, clock=clock)]) as meter:
        clock.move(2.0)  # 40 J; from 20 000 J, 0 of its range, to 40
        with meter.window("over the end") as over:
            clock.move(1.0)  # from 40 J to 60, which the counter shows as 10
    assert over.result.energy_j == pytest.approx(20.0)


def test_power_is_integrated_where_there_is_no_counter(clock: Clock) -> None:
    with EnergyMeter([FakeMeter({"gpu:0": 100.0}, quantum_s=0.1, grade=Grade.INTEGRATED, clock=clock)]) as meter:
        clock.move(2.0)
    assert meter.result.energy_j == pytest.approx(200.0)
    assert meter.result.grade == "integrated"
    assert meter.result.error_j == pytest.approx(10.0)  # 0.1 s late at most, at 100 W


def test_a_domain_within_another_is_not_added_twice(clock: Clock) -> None:
    inner = FakeMeter(
        {"machine:psys": 50.0, "cpu:package-0": 20.0}, within={"cpu:package-0": "machine:psys"}, clock=clock
    )
    with EnergyMeter([inner]) as meter:
        clock.move(2.0)
    assert meter.result.energy_j == pytest.approx(100.0)
    assert meter.result.of("cpu:package-0").energy_j == pytest.approx(40.0)


def test_idle_watts_give_the_active_joules(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", clock.move)
    # The recording draws 10 W for 2 s, then 60 W for 3 s.
    with EnergyMeter([_recorded(clock)], idle_s=2.0) as meter:
        clock.move(3.0)
    assert meter.idle is not None
    assert meter.idle.power_w == pytest.approx(10.0)
    assert meter.result.energy_j == pytest.approx(180.0)
    assert meter.result.active_j == pytest.approx(150.0)


def _recorded(clock: Clock) -> ReplayMeter:
    course = {"gpu:0": [0.0, 10.0, 20.0, 80.0, 140.0, 200.0, 260.0]}
    rows = [[float(second), {"gpu:0": energy_j}] for second, energy_j in enumerate(course["gpu:0"])]
    domain = {"name": "gpu:0", "component": "gpu", "grade": "counter", "quantum_s": 0.0}
    path = Path("recording.json")
    path.write_text(json.dumps({"domains": [domain], "readings": rows}))
    return ReplayMeter(path, clock=clock)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_idle_time_there_are_no_active_joules(clock: Clock) -> None:
    with EnergyMeter([fake(clock)]) as meter:
        clock.move(1.0)
    assert meter.idle is None
    assert meter.result.active_j is None


def test_the_device_is_waited_for_before_every_reading(clock: Clock) -> None:
    def synchronize() -> None:
        clock.move(1.0)  # what the device still had to do

    with EnergyMeter([fake(clock)], synchronize=synchronize) as meter, meter.window("work") as work:
        clock.move(2.0)
    # Its own 2 s and the second that the device went on; not the second before it began.
    assert work.result.energy_j == pytest.approx(360.0)
    assert meter.result.duration_s == pytest.approx(1.0 + 3.0 + 1.0)


def test_an_exception_ends_its_windows_and_goes_on(clock: Clock) -> None:
    meter = EnergyMeter([fake(clock)])
    with pytest.raises(ZeroDivisionError), meter:
        meter.begin("left open")
        with meter.window("fails"):
            clock.move(2.0)
            raise ZeroDivisionError
    fails, left_open, whole = meter.windows
    assert [w.energy_j for w in meter.windows] == pytest.approx([240.0, 240.0, 240.0])
    assert (fails.raised, left_open.raised, whole.raised) == ("ZeroDivisionError",) * 3
    assert (fails.name, left_open.name, whole.name) == ("fails", "left open", "all")


class Dying(FakeMeter):
    """Its counter cannot be read any more once it is dead."""

    dead: bool = False
    raises: bool = False

    def read(self) -> tuple[Reading, ...]:
        if self.dead and self.raises:
            raise OSError(5, "Input/output error")
        return () if self.dead else super().read()


@pytest.mark.parametrize("raises", [False, True])
def test_a_meter_that_dies_ends_no_program_and_gives_no_part_of_the_joules(clock: Clock, raises: bool) -> None:
    dying = Dying({"gpu:0": 100.0}, clock=clock)
    dying.raises = raises
    with EnergyMeter([FakeMeter({"cpu:package-0": 20.0}, clock=clock), dying]) as meter:
        with meter.window("before") as before:
            clock.move(1.0)
        clock.move(1.0)
        dying.dead = True
    assert before.result.energy_j == pytest.approx(120.0)
    assert isinstance(meter.result.problem, RefusedError)
    with pytest.raises(RefusedError, match="could not be read at the end"):
        _ = meter.result.energy_j
    assert "no energy" in str(meter.result)
    assert meter.result.duration_s == pytest.approx(2.0)


def test_a_reading_that_no_board_can_draw_is_refused(clock: Clock) -> None:
    class Reset(FakeMeter):
        def read(self) -> tuple[Reading, ...]:
            return tuple(Reading(r.domain, r.time_s, 1e6 if clock() > 1001.0 else 0.0) for r in super().read())

    with EnergyMeter([Reset({"gpu:0": 100.0}, clock=clock)]) as meter:
        clock.move(2.0)
    with pytest.raises(RefusedError, match="as if it had drawn 500,000 W"):
        _ = meter.result.power_w


def test_no_meter_is_told_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="unknown meter 'rapll'"), EnergyMeter(["rapll"]):
        pass
    # This name is a meter's, and there is no such board here.
    with pytest.raises(UnavailableError, match="meter 'nvml:77' is not available") as error, EnergyMeter(["nvml:77"]):
        pass
    assert error.value.hint
    monkeypatch.setattr(meters, "METERS", {})
    with pytest.raises(UnavailableError, match="no energy meter is available") as error, EnergyMeter():
        pass
    assert "doctor" in error.value.hint


def test_a_meter_by_name_is_opened_and_closed() -> None:
    with EnergyMeter(["fake:gpu:0=100"]) as meter:
        assert [d.name for d in meter.domains] == ["gpu:0"]
        time.sleep(0.05)
    assert meter.result.energy_j == pytest.approx(100.0 * meter.result.duration_s, rel=1e-3)
    assert 0.0 <= (meter.result.foreign_cpu_share or 0.0) <= 1.0
    assert str(meter.result).startswith("all: ")
    assert "gpu:0" in meter.result._repr_html_()


def test_a_window_opens_at_a_step_where_it_is_asked_to() -> None:
    with EnergyMeter([FakeMeter({"gpu:0": 100.0}, quantum_s=0.1)], align=True) as meter:
        time.sleep(0.55)
    unaligned_j = 0.1 * 100.0
    # Its first reading is fresh, so only the last one may be old: half of the error.
    assert meter.result.error_j == pytest.approx(unaligned_j / 2, rel=0.15)
    assert abs(meter.result.energy_j - 100.0 * meter.result.duration_s) <= meter.result.error_j


def test_async_windows_await_the_device_and_may_overlap(clock: Clock) -> None:
    waited: list[float] = []

    async def synchronize() -> None:
        await asyncio.sleep(0)
        waited.append(clock())

    async def main() -> tuple[float, float]:
        async with EnergyMeter([fake(clock)], synchronize=synchronize) as meter:
            started, done = asyncio.Event(), asyncio.Event()

            async def request() -> float:
                async with meter.window("request") as request:
                    started.set()
                    await done.wait()
                return request.result.energy_j

            task = asyncio.create_task(request())
            await started.wait()
            async with meter.window("other") as other:
                clock.move(1.0)
            clock.move(2.0)
            done.set()
            return other.result.energy_j, await task

    assert asyncio.run(main()) == pytest.approx((120.0, 360.0))
    assert len(waited) == 6  # both ends of two windows and of the whole


def test_a_task_that_outlives_the_meter_has_what_was_drawn_until_then(clock: Clock) -> None:
    async def main() -> float:
        async with EnergyMeter([fake(clock)]) as meter:
            begun, window = asyncio.Event(), meter.window("endless")

            async def endless() -> None:
                async with window:
                    begun.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(endless())
            await begun.wait()
            clock.move(1.0)
        clock.move(5.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return window.result.energy_j

    assert asyncio.run(main()) == pytest.approx(120.0)


def test_what_has_to_be_awaited_is_told_where_nothing_awaits_it(clock: Clock) -> None:
    async def synchronize() -> None:
        pass

    with pytest.raises(InputError, match="has to be awaited"), EnergyMeter([fake(clock)], synchronize=synchronize):
        pass
