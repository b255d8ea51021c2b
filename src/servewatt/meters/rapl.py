"""CPU package, DRAM and platform energy from RAPL counters, through Linux' powercap tree (Intel and AMD)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from servewatt.errors import RefusedError
from servewatt.meters.plausible import difference_j
from servewatt.meters.rapl_zones import PLATFORM_CEILING_W, Zone, find_zones, nest
from servewatt.records import Domain, PowerSample, Reading

ROOT = Path("/sys/class/powercap")

PSYS_PAUSE_S = 0.05
PSYS_LEAST_SHARE = 0.5

PERMISSION_HINT = (
    "until the next boot: sudo chmod a+r /sys/class/powercap/*/energy_uj ; for good: echo "
    '\'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod a+r /sys%p/energy_uj"\' '
    "| sudo tee /etc/udev/rules.d/70-rapl.rules (any user can then read the counters)"
)


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
        zones = find_zones(root)
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
        self._domains = nest(self._without_dead(readable, pause))
        for name in self._files.keys() - {d.name for d in self._domains}:
            os.close(self._files.pop(name))

    def _open(self, zone: Zone, open_file: Callable[[Path], int]) -> str:
        """Open a zone's counter; the reason if it cannot be read, else empty."""
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

    def _without_dead(self, zones: list[Zone], pause: Callable[[float], None]) -> list[Zone]:
        """Leave out a psys that cannot be the whole platform, and memory counters that have never counted.

        Many boards expose the platform counter without calibrating it; it then stands still or reads less than the
        packages it should contain, and servers show one a socket of which only the master's counts. A psys that
        advances by less than half of what the packages do, or by more than any machine draws, is left out, and so are
        several live ones at once. Where firmware does not count a socket's memory, its counter is there and stays at
        zero.
        """
        platforms = [z for z in zones if z.kind == "psys"]
        packages = [z for z in zones if z.kind == "package"]
        empty = [z for z in zones if z.kind == "dram" and self._microjoules(z.domain.name) == 0]
        if not platforms and not empty:
            return zones
        before = {z: self._microjoules(z.domain.name) or 0 for z in platforms + packages}
        start_s = self._clock()
        pause(PSYS_PAUSE_S)
        passed_s = max(PSYS_PAUSE_S, self._clock() - start_s)
        advance = {z: (self._microjoules(z.domain.name) or 0) - uj for z, uj in before.items()}
        for zone, microjoules in advance.items():
            if microjoules < 0 and zone.domain.range_j:
                advance[zone] = microjoules + round(zone.domain.range_j * 1e6)
        least = PSYS_LEAST_SHARE * sum(advance[z] for z in packages)
        most = PLATFORM_CEILING_W * passed_s * 1e6
        live = [z for z in platforms if advance[z] > 0 and least <= advance[z] <= most]
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


def _why_unreadable(problems: Mapping[Zone, str]) -> tuple[str, str] | None:
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
