from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt.errors import RefusedError
from servewatt.meters.energy import domain_energies
from servewatt.meters.rapl import RaplMeter
from servewatt.records import Component, Grade

RANGE_UJ = 262_143_328_850


def zone(root: Path, folder: str, name: str, energy_uj: int, **files: int) -> None:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    for file, value in files.items():
        (path / file).write_text(f"{value}\n")


def advance(root: Path, **by_uj: int) -> Callable[[float], None]:
    """A pause during which the zones of these names advance."""

    def pause(_seconds: float) -> None:
        for path in root.glob("intel-rapl*:*"):
            step = by_uj.get((path / "name").read_text().strip().replace("-", "_"), 0)
            energy = path / "energy_uj"
            energy.write_text(f"{int(energy.read_text()) + step}\n")

    return pause


@pytest.fixture
def two_sockets(tmp_path: Path) -> Path:
    root = tmp_path / "powercap"
    limits = {"constraint_0_power_limit_uw": 250_000_000, "constraint_1_power_limit_uw": 300_000_000}
    for socket in (0, 1):
        zone(root, f"intel-rapl:{socket}", f"package-{socket}", 1_000_000 * (socket + 1), **limits)
        zone(root, f"intel-rapl:{socket}:0", "dram", 500_000)
        zone(root, f"intel-rapl:{socket}:1", "core", 300_000)
    (root / "intel-rapl").mkdir()
    (root / "dtpm").mkdir()
    return root


def test_sockets_and_their_dram_are_counted_and_cores_are_not(two_sockets: Path) -> None:
    meter = RaplMeter(two_sockets)
    assert meter.unavailable() is None
    found = {d.name: d for d in meter.domains()}
    assert set(found) == {"cpu:package-0", "cpu:package-1", "dram:0", "dram:1", "cpu:core-0", "cpu:core-1"}
    assert {name for name, d in found.items() if d.within is None} == {
        "cpu:package-0",
        "cpu:package-1",
        "dram:0",
        "dram:1",
    }
    assert found["cpu:core-1"].within == "cpu:package-1"
    assert found["dram:1"].component is Component.DRAM
    assert found["cpu:package-0"].grade is Grade.COUNTER
    assert found["cpu:package-0"].range_j == pytest.approx(262_143.32885)
    assert found["cpu:package-0"].max_power_w == pytest.approx(300.0)
    assert {r.domain: r.energy_j for r in meter.read()}["cpu:package-1"] == pytest.approx(2.0)
    meter.close()


def test_readings_follow_the_counter_through_a_wrap(two_sockets: Path) -> None:
    energy = two_sockets / "intel-rapl:0" / "energy_uj"
    energy.write_text(f"{RANGE_UJ - 3_000_000}\n")
    now = [100.0]
    meter = RaplMeter(two_sockets, clock=lambda: now[0])
    first = meter.read()
    advance(two_sockets, package_1=11_000_000, dram=2_000_000, core=1_000_000)(1.0)
    energy.write_text("4000000\n")
    now[0] = 101.0
    found = {e.domain: e for e in domain_energies(meter.domains(), first, meter.read())}
    assert found["cpu:package-0"].energy_j == pytest.approx(7.0)
    # 7 J over 0.999 s, one millisecond of it.
    assert found["cpu:package-0"].error_j == pytest.approx(7.0 / 999)
    # The other package's 11 J, and 2 J of memory at each.
    assert sum(e.energy_j for e in found.values() if e.counted) == pytest.approx(7.0 + 11.0 + 2 * 2.0)
    meter.close()


def test_power_is_the_mean_since_the_previous_call(two_sockets: Path) -> None:
    energy = two_sockets / "intel-rapl:0" / "energy_uj"
    energy.write_text(f"{RANGE_UJ - 3_000_000}\n")
    now = [100.0]
    meter = RaplMeter(two_sockets, clock=lambda: now[0])
    assert meter.power() == ()
    energy.write_text("5000000\n")
    now[0] = 100.2
    found = {s.domain: s.power_w for s in meter.power()}
    assert found["cpu:package-0"] == pytest.approx(40.0)
    assert found["cpu:package-1"] == 0.0
    meter.close()


def test_the_platform_counter_contains_packages_and_dram(two_sockets: Path) -> None:
    zone(two_sockets, "intel-rapl:2", "psys", 9_000_000)
    meter = RaplMeter(two_sockets, pause=advance(two_sockets, package_0=2_000, package_1=2_000, psys=6_000))
    assert [d.name for d in meter.domains() if d.within is None] == ["machine:psys"]
    assert next(d for d in meter.domains() if d.name == "cpu:core-0").within == "cpu:package-0"
    meter.close()


# Nothing, less than half the packages', and 4 kW in 50 ms.
@pytest.mark.parametrize("psys_uj", [0, 1_900, 200_000_000])
def test_a_platform_counter_that_cannot_be_the_whole_is_left_out(two_sockets: Path, psys_uj: int) -> None:
    zone(two_sockets, "intel-rapl:2", "psys", 9_000_000)
    meter = RaplMeter(two_sockets, pause=advance(two_sockets, package_0=2_000, package_1=2_000, psys=psys_uj))
    assert "machine:psys" not in [d.name for d in meter.domains()]
    assert len([d for d in meter.domains() if d.within is None]) == 4
    meter.close()


def test_of_a_platform_counter_a_socket_the_live_one_is_used(two_sockets: Path) -> None:
    zone(two_sockets, "intel-rapl:2", "psys", 9_000_000)
    zone(two_sockets, "intel-rapl:3", "psys-1", 0)
    meter = RaplMeter(two_sockets, pause=advance(two_sockets, package_0=2_000, package_1=2_000, psys=6_000))
    assert [d.name for d in meter.domains() if d.component is Component.MACHINE] == ["machine:psys"]
    meter.close()


def test_the_same_package_through_mmio_is_not_counted_twice(two_sockets: Path) -> None:
    zone(two_sockets, "intel-rapl-mmio:0", "package-0", 77_000_000)
    meter = RaplMeter(two_sockets)
    assert [r.energy_j for r in meter.read() if r.domain == "cpu:package-0"] == [pytest.approx(1.0)]
    meter.close()


def test_dies_have_names_of_their_own(tmp_path: Path) -> None:
    for die in (0, 1):
        zone(tmp_path, f"intel-rapl:{die}", f"package-0-die-{die}", 1_000_000)
        zone(tmp_path, f"intel-rapl:{die}:0", "dram", 1_000_000)
    meter = RaplMeter(tmp_path)
    assert [d.name for d in meter.domains()] == [
        "cpu:package-0-die-0",
        "dram:0-die-0",
        "cpu:package-0-die-1",
        "dram:0-die-1",
    ]
    meter.close()


def test_firmware_that_states_no_limit_does_not_make_wraps_look_likely(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0, constraint_0_power_limit_uw=4_095_000_000)
    meter = RaplMeter(tmp_path)
    assert meter.domains()[0].max_power_w == 1000.0
    meter.close()


def test_missing_permission_names_the_command_that_mends_it(two_sockets: Path) -> None:
    def refuse(path: Path) -> int:
        if "intel-rapl:0:0" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return os.open(path, os.O_RDONLY)

    meter = RaplMeter(two_sockets, open_file=refuse)
    problem = meter.unavailable()
    assert problem is not None
    assert "permission" in problem[0] and "intel-rapl:0:0/energy_uj" in problem[0]
    assert "sudo chmod a+r /sys/class/powercap/*/energy_uj" in problem[1]
    assert "udev" in problem[1]
    assert meter.domains() == () and meter.read() == ()


def test_in_a_virtual_machine_the_reason_is_the_hypervisor(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse2 hypervisor avx2\n")
    problem = RaplMeter(tmp_path / "powercap", cpuinfo=cpuinfo).unavailable()
    assert problem is not None and "virtual machine" in problem[0] and "--cpu-watts" in problem[1]
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse2 avx2\n")
    problem = RaplMeter(tmp_path / "powercap", cpuinfo=cpuinfo).unavailable()
    assert problem is not None and "modprobe" in problem[1]


def test_zones_that_give_no_number_make_it_unavailable(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("")
    problem = RaplMeter(tmp_path).unavailable()
    assert problem is not None and "no reading" in problem[0]


def failing(error: int, *parts: str) -> Callable[[Path], int]:
    """Opens every counter but those whose path holds one of `parts`."""

    def open_file(path: Path) -> int:
        if any(part in str(path) for part in parts):
            raise OSError(error, os.strerror(error), str(path))
        return os.open(path, os.O_RDONLY)

    return open_file


@pytest.mark.parametrize("error", [errno.ENODATA, errno.EIO, errno.ENODEV, errno.EINVAL])
@pytest.mark.parametrize("part", ["intel-rapl:1/", "intel-rapl:0:0/"])
def test_a_socket_or_memory_that_cannot_be_read_is_told_as_a_missing_permission_is(
    two_sockets: Path, error: int, part: str
) -> None:
    meter = RaplMeter(two_sockets, open_file=failing(error, part))
    problem = meter.unavailable()
    assert problem is not None
    assert f"{part}energy_uj cannot be read: {os.strerror(error)}" in problem[0]
    rest = "cpu:package-0,dram:0,dram:1" if part == "intel-rapl:1/" else "cpu:package-0,cpu:package-1,dram:1"
    assert f"--meter rapl:{rest}" in problem[1]
    assert meter.domains() == () and meter.read() == ()


@pytest.mark.parametrize("text", ["", "many\n", "-5\n", "1.5e3\n", "\xff\n"])
def test_a_counter_that_opens_but_gives_no_number_is_told(two_sockets: Path, text: str) -> None:
    (two_sockets / "intel-rapl:1" / "energy_uj").write_text(text, "latin-1")
    problem = RaplMeter(two_sockets).unavailable()
    assert problem is not None and "intel-rapl:1/energy_uj gives no reading" in problem[0]


@pytest.mark.parametrize("text", ["", "0\n", "²\n", "unknown\n", None])
def test_a_counter_whose_range_is_not_known_is_told(two_sockets: Path, text: str | None) -> None:
    """A long window could not tell how often it wrapped."""
    path = two_sockets / "intel-rapl:1" / "max_energy_range_uj"
    path.unlink()
    if text is not None:
        path.write_text(text)
    problem = RaplMeter(two_sockets).unavailable()
    assert problem is not None and "intel-rapl:1/max_energy_range_uj" in problem[0]


@pytest.mark.parametrize("folder", ["intel-rapl:1", "intel-rapl:1:0"])
def test_a_zone_whose_name_cannot_be_read_is_told(two_sockets: Path, folder: str) -> None:
    (two_sockets / folder / "name").unlink()
    problem = RaplMeter(two_sockets).unavailable()
    assert problem is not None and f"{folder}/name cannot be read" in problem[0]


def test_cores_that_cannot_be_read_are_in_their_package_all_the_same(two_sockets: Path) -> None:
    meter = RaplMeter(two_sockets, open_file=failing(errno.EIO, "intel-rapl:1:1/"))
    assert meter.unavailable() is None
    assert "cpu:core-1" not in [d.name for d in meter.domains()]
    assert len([d for d in meter.domains() if d.within is None]) == 4
    (remark,) = meter.remarks
    assert "cpu:core-1 is left out" in remark and "Input/output error" in remark
    meter.close()


def test_the_domains_that_its_user_names_are_enough(two_sockets: Path) -> None:
    meter = RaplMeter(two_sockets, only=("cpu:package-0", "dram:0"), open_file=failing(errno.ENODATA, "intel-rapl:1"))
    assert meter.unavailable() is None
    assert [(d.name, d.within) for d in meter.domains()] == [("cpu:package-0", None), ("dram:0", None)]
    assert [r.domain for r in meter.read()] == ["cpu:package-0", "dram:0"]
    meter.close()
    problem = RaplMeter(two_sockets, only=("cpu:package-7",)).unavailable()
    assert problem is not None and "no domain cpu:package-7" in problem[0] and "cpu:package-1" in problem[1]


def test_a_zone_that_vanishes_while_it_is_measured_is_no_zero(two_sockets: Path) -> None:
    now = [0.0]
    meter = RaplMeter(two_sockets, clock=lambda: now[0])
    first = meter.read()
    advance(two_sockets, package_0=10_000_000, dram=1_000_000, core=1_000_000)(1.0)
    (two_sockets / "intel-rapl:1" / "energy_uj").write_text("")  # as a read of the removed file: nothing
    now[0] = 1.0
    last = meter.read()
    assert "cpu:package-1" not in [r.domain for r in last]
    with pytest.raises(RefusedError, match="cpu:package-1: the energy counter could not be read at the end"):
        domain_energies(meter.domains(), first, last)
    meter.close()


def test_power_over_a_reset_is_left_out(two_sockets: Path) -> None:
    now = [0.0]
    energy = two_sockets / "intel-rapl:0" / "energy_uj"
    meter = RaplMeter(two_sockets, clock=lambda: now[0])
    energy.write_text("150000000000\n")
    meter.power()
    powers = []
    for now[0], microjoules in ((0.5, 150_020_000_000), (1.0, 100_000), (1.5, 20_100_000)):
        energy.write_text(f"{microjoules}\n")
        powers.append([s.power_w for s in meter.power() if s.domain == "cpu:package-0"])
    assert powers == [[pytest.approx(40.0)], [], [pytest.approx(40.0)]]
    meter.close()


def test_limits_that_are_not_enforced_bound_nothing(tmp_path: Path) -> None:
    """A desktop board may state 65 W, leave the limit off, and let the processor draw 200."""
    zone(tmp_path, "intel-rapl:0", "package-0", 1, constraint_0_power_limit_uw=65_000_000, enabled=0)
    zone(tmp_path, "intel-rapl:1", "package-1", 1, constraint_0_power_limit_uw=65_000_000, enabled=1)
    meter = RaplMeter(tmp_path)
    assert [d.max_power_w for d in meter.domains()] == [1000.0, 65.0]
    meter.close()


def test_memory_that_firmware_does_not_count_is_left_out_and_told(two_sockets: Path) -> None:
    (two_sockets / "intel-rapl:1:0" / "energy_uj").write_text("0\n")
    meter = RaplMeter(two_sockets, pause=lambda _s: None)
    assert [d.name for d in meter.domains() if d.within is None] == ["cpu:package-0", "dram:0", "cpu:package-1"]
    assert meter.remarks == ("dram:1 is left out: it has never counted",)
    meter.close()
    # A counter that happens to stand at zero and goes on is counted.
    meter = RaplMeter(two_sockets, pause=advance(two_sockets, dram=50_000))
    assert "dram:1" in [d.name for d in meter.domains()]
    meter.close()


def test_a_platform_counter_that_is_left_out_is_told(two_sockets: Path) -> None:
    zone(two_sockets, "intel-rapl:2", "psys", 9_000_000)
    meter = RaplMeter(two_sockets, pause=advance(two_sockets, package_0=2_000, package_1=2_000))
    assert meter.remarks == ("machine:psys is left out: it does not count the whole platform",)
    meter.close()


LABELS = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "dram", "intel-rapl:0:1": "core", "intel-rapl:1": "package-1"}
WRONG = st.sampled_from(["", "\n", "nan", "-1", "1e9", "0x10", "9" * 40, "\x00", "Ünknown", None])


@given(
    wrong=st.dictionaries(
        st.tuples(
            st.sampled_from(list(LABELS)), st.sampled_from(["name", "energy_uj", "max_energy_range_uj", "enabled"])
        ),
        WRONG,
    ),
    error=st.sampled_from([errno.EACCES, errno.ENODATA, errno.EIO, errno.ENODEV, errno.ENOENT]),
    closed=st.sets(st.sampled_from(list(LABELS))),
)
def test_whatever_its_files_hold_half_a_machine_is_never_its_whole(
    wrong: dict[tuple[str, str], str | None], error: int, closed: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for place, label in LABELS.items():
            zone(root, place, label, 1_000_000)
        for (place, file), text in wrong.items():
            (root / place / file).unlink(missing_ok=True)
            if text is not None:
                (root / place / file).write_text(text, "utf-8")
        meter = RaplMeter(root, open_file=failing(error, *(f"/{place}/" for place in closed)), pause=lambda _s: None)
        problem = meter.unavailable()
        assert (problem is None) == bool(meter.domains())
        if problem is None:
            # Zones of another name are of no kind that this program knows.
            unknown = {place for place, file in wrong if file == "name"}
            assert closed - unknown <= {"intel-rapl:0:1"}
            counted = {d.name for d in meter.domains() if d.within is None}
            assert unknown - {"intel-rapl:0:1"} or counted >= {"cpu:package-0", "dram:0", "cpu:package-1"}
            assert {r.domain for r in meter.read()} == {d.name for d in meter.domains()}
        meter.close()
