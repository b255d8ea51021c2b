"""CPU package, DRAM and platform energy from RAPL counters, through Linux' powercap tree (Intel and AMD).

https://docs.kernel.org/power/powercap/powercap.html. A zone is a folder with `name`, `energy_uj` and
`max_energy_range_uj`; a subzone's folder is named after its parent's (`intel-rapl:0:1` lies in `intel-rapl:0`),
and the class folder links to all of them side by side.

What holds what: a package contains its cores and uncore; DRAM is metered beside the package; the platform counter
(psys) contains packages and DRAM. GPU boards are not in any of them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from servewatt.errors import RefusedError
from servewatt.meters.plausible import CEILING_W, difference_j
from servewatt.records import Component, Domain, Grade, PowerSample, Reading

ROOT = Path("/sys/class/powercap")

QUANTUM_S = 0.001
"""RAPL counters are updated about every millisecond (Intel SDM vol. 3B, 15.10)."""

PLATFORM_CEILING_W = 3000.0
"""Most power of a platform counter (psys). Firmware may state limits of 4 kW, meaning none at all."""

PSYS_PAUSE_S = 0.05
PSYS_LEAST_SHARE = 0.5

PERMISSION_HINT = (
    "until the next boot: sudo chmod a+r /sys/class/powercap/*/energy_uj ; for good: echo "
    '\'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod a+r /sys%p/energy_uj"\' '
    "| sudo tee /etc/udev/rules.d/70-rapl.rules (any user can then read the counters)"
)


@dataclass(frozen=True)
class _Zone:
    folder: Path
    kind: str
    """package, core, uncore, dram or psys."""
    place: str
    """Socket (and die) it belongs to, such as `0` or `1-die-0`."""
    domain: Domain
    problem: str = ""
    """Why its files say too little to read it; empty if they do not."""


class RaplMeter:
    """Reads every RAPL domain (or those named in `only`); a reading costs a few microseconds a domain."""

    name = "rapl"

    def __init__(
        self,
        root: Path = ROOT,
        *,
        only: Collection[str] = (),
        cpuinfo: Path = Path("/proc/cpuinfo"),
        open_file: Callable[[Path], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._files: dict[str, int] = {}
        self._last: dict[str, Reading] = {}
        self._domains: tuple[Domain, ...] = ()
        self._reason: tuple[str, str] | None = None
        self.remarks: tuple[str, ...] = ()
        zones = _find_zones(root)
        self.present = bool(zones)
        if not zones:
            self._reason = _why_absent(root, cpuinfo)
            return
        names = [zone.domain.name for zone in zones]
        absent = sorted(set(only) - set(names))
        if absent:
            self._reason = (f"there is no domain {absent[0]}", f"there are {', '.join(names)}")
            return
        problems = {
            zone: self._open(zone, open_file or _open) for zone in zones if not only or zone.domain.name in only
        }
        self._reason = _why_unreadable(problems)
        if self._reason:
            self.close()
            return
        readable = [zone for zone, problem in problems.items() if not problem]
        self.remarks = tuple(f"{zone.domain.name} is left out: {p}" for zone, p in problems.items() if p)
        self._domains = _nest(self._without_dead(readable, pause))
        for name in self._files.keys() - {d.name for d in self._domains}:
            os.close(self._files.pop(name))

    def _open(self, zone: _Zone, open_file: Callable[[Path], int]) -> str:
        """Open a zone's counter; why it cannot be read, or nothing."""
        if zone.problem:
            return zone.problem
        path, name = zone.folder / "energy_uj", zone.domain.name
        try:
            self._files[name] = open_file(path)
            os.pread(self._files[name], 32, 0)
        except PermissionError:
            problem = f"no permission to read {path}"
        except OSError as error:
            problem = f"{path} cannot be read: {error.strerror or error}"
        else:
            problem = "" if self._microjoules(name) is not None else f"{path} gives no reading"
        if problem and name in self._files:
            os.close(self._files.pop(name))
        return problem

    def unavailable(self) -> tuple[str, str] | None:
        return self._reason

    def domains(self) -> tuple[Domain, ...]:
        return self._domains

    def read(self) -> tuple[Reading, ...]:
        readings = []
        for domain in self._domains:
            microjoules = self._microjoules(domain.name)
            if microjoules is not None:
                readings.append(Reading(domain.name, self._clock(), microjoules * 1e-6))
        return tuple(readings)

    def power(self) -> tuple[PowerSample, ...]:
        """Mean power since the previous call; nothing at the first."""
        now = {r.domain: r for r in self.read()}
        before, self._last = self._last, now
        samples = []
        for domain in self._domains:
            first, last = before.get(domain.name), now.get(domain.name)
            if first is None or last is None or last.time_s <= first.time_s:
                continue
            try:
                energy_j = difference_j(domain, first, last)
            except RefusedError:  # reset in between
                continue
            samples.append(PowerSample(domain.name, last.time_s, energy_j / (last.time_s - first.time_s)))
        return tuple(samples)

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _microjoules(self, name: str) -> int | None:
        descriptor = self._files.get(name)
        if descriptor is None:
            return None
        try:
            microjoules = int(os.pread(descriptor, 32, 0))
        except (OSError, ValueError):
            return None
        return microjoules if microjoules >= 0 else None

    def _without_dead(self, zones: list[_Zone], pause: Callable[[float], None]) -> list[_Zone]:
        """Leave out a psys that cannot be the whole platform, and memory counters that have never counted.

        Many boards expose the platform counter without calibrating it; it then stands still or reads less than the
        packages it should contain, and servers show one a socket of which only the master's counts. A psys that
        advances by less than half of what the packages do is left out, and so are several live ones at once. Where
        firmware does not count a socket's memory, its counter is there and stays at zero.
        """
        platforms = [z for z in zones if z.kind == "psys"]
        packages = [z for z in zones if z.kind == "package"]
        empty = [z for z in zones if z.kind == "dram" and self._microjoules(z.domain.name) == 0]
        if not platforms and not empty:
            return zones
        before = {z: self._microjoules(z.domain.name) or 0 for z in platforms + packages}
        pause(PSYS_PAUSE_S)
        advance = {z: (self._microjoules(z.domain.name) or 0) - uj for z, uj in before.items()}
        for zone, microjoules in advance.items():
            if microjoules < 0 and zone.domain.range_j:
                advance[zone] = microjoules + round(zone.domain.range_j * 1e6)
        least = PSYS_LEAST_SHARE * sum(advance[z] for z in packages)
        live = [z for z in platforms if advance[z] > 0 and advance[z] >= least]
        dead = [z for z in platforms if z not in live or len(live) > 1]
        why = "does not count the whole platform" if len(live) <= 1 else "is one of several platform counters"
        self.remarks += tuple(f"{z.domain.name} is left out: it {why}" for z in dead)
        empty = [z for z in empty if self._microjoules(z.domain.name) == 0]
        self.remarks += tuple(f"{z.domain.name} is left out: it has never counted" for z in empty)
        return [z for z in zones if z not in dead and z not in empty]


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _why_absent(root: Path, cpuinfo: Path) -> tuple[str, str]:
    try:
        text = cpuinfo.read_text()
    except OSError:
        text = ""
    if re.search(r"^flags\s*:.*\bhypervisor\b", text, re.MULTILINE):
        return (
            f"no RAPL zones in {root}: this is a virtual machine, whose hypervisor does not pass energy counters on",
            "measure on bare metal, or use the estimate meter with --cpu-watts IDLE,MAX",
        )
    return (
        f"no RAPL zones in {root}",
        "sudo modprobe intel_rapl_msr (Intel since Sandy Bridge, AMD since Zen); in a container, mount the host's /sys",
    )


def _why_unreadable(problems: Mapping[_Zone, str]) -> tuple[str, str] | None:
    """The reason and hint for zones that cannot be read, of which the sum would be less than the machine.

    Cores and graphics within a package that can be read are in its energy already, so they may be missing, unless for
    a permission, which is mended for all at once.
    """
    denied = next((p for p in problems.values() if p.startswith("no permission")), None)
    if denied:
        return denied, PERMISSION_HINT
    whole = {zone.place for zone, problem in problems.items() if zone.kind == "package" and not problem}
    broken = [p for z, p in problems.items() if p and not (z.kind in ("core", "uncore") and z.place in whole)]
    readable = [zone.domain.name for zone, problem in problems.items() if not problem]
    if not broken:
        return None
    if not readable:
        return f"the energy counters give no reading: {broken[0]}", "look for errors in dmesg"
    part = ",".join(name for name in readable if not name.startswith(("cpu:core", "cpu:uncore")))
    return broken[0], f"look for errors in dmesg; to measure only what can be read, name it: --meter rapl:{part}"


def _find_zones(root: Path) -> list[_Zone]:
    """Every known zone once: the same counter also seen through intel-rapl-mmio is passed over."""
    names = sorted((p.name for p in root.glob("intel-rapl*:*")), key=_zone_order)
    zones: dict[str, _Zone] = {}
    for name in names:
        zone = _zone(root, name)
        if zone is not None:
            zones.setdefault(zone.domain.name, zone)
    return list(zones.values())


def _zone_order(name: str) -> tuple[bool, str, list[int]]:
    interface, *numbers = name.split(":")
    return (interface != "intel-rapl", interface, [int(n) for n in numbers if n.isdigit()])


def _zone(root: Path, folder_name: str) -> _Zone | None:
    folder = root / folder_name
    label = _text(folder / "name")
    if label is None:
        if folder_name.count(":") != 1:
            return None
        # A socket or the platform, whose energy would be missing.
        unnamed = Domain(f"cpu:{folder_name.replace(':', '-')}", Component.CPU, Grade.COUNTER, QUANTUM_S)
        return _Zone(folder, "package", folder_name, unnamed, f"{folder / 'name'} cannot be read")
    parent = _text(root / folder_name.rpartition(":")[0] / "name") if folder_name.count(":") > 1 else None
    if match := re.fullmatch(r"package-(\d+(?:-die-\d+)?)", label):
        kind, place, component = "package", match[1], Component.CPU
        name = f"cpu:package-{place}"
    elif match := re.fullmatch(r"psys(?:-(\d+))?", label):
        kind, place, component = "psys", match[1] or "", Component.MACHINE
        name = f"machine:{label}"
    elif label in ("core", "uncore", "dram"):
        kind, component = label, Component.DRAM if label == "dram" else Component.CPU
        place = (parent or folder_name.partition(":")[2]).removeprefix("package-")
        name = f"dram:{place}" if kind == "dram" else f"cpu:{kind}-{place}"
    else:
        return None
    range_uj = _number(folder / "max_energy_range_uj")
    ceiling_w = PLATFORM_CEILING_W if kind == "psys" else CEILING_W[component]
    domain = Domain(
        name=name,
        component=component,
        grade=Grade.COUNTER,
        quantum_s=QUANTUM_S,
        range_j=range_uj * 1e-6 if range_uj else None,
        max_power_w=_max_power_w(folder, ceiling_w),
    )
    # Without its range a counter's wraps could not be told.
    problem = "" if range_uj else f"{folder / 'max_energy_range_uj'} gives no number"
    return _Zone(folder, kind, place, domain, problem)


def _max_power_w(folder: Path, ceiling_w: float) -> float:
    """The highest limit the zone states and enforces, as far as it can be believed.

    https://docs.kernel.org/power/powercap/powercap.html: where `enabled` is 0, the limits are not enforced.
    """
    if _number(folder / "enabled") == 0:
        return ceiling_w
    files = [*folder.glob("constraint_*_power_limit_uw"), *folder.glob("constraint_*_max_power_uw")]
    stated_w = max((number * 1e-6 for file in files if (number := _number(file))), default=0.0)
    return min(stated_w, ceiling_w) if stated_w > 0 else ceiling_w


def _nest(zones: list[_Zone]) -> tuple[Domain, ...]:
    platform = next((z.domain.name for z in zones if z.kind == "psys"), None)
    packages = {z.place: z.domain.name for z in zones if z.kind == "package"}

    def container(zone: _Zone) -> str | None:
        if zone.kind == "psys":
            return None
        if zone.kind in ("core", "uncore"):
            return packages.get(zone.place, platform)
        return platform

    return tuple(replace(z.domain, within=container(z)) for z in zones)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and text.isascii() and text.isdecimal() else None
