"""Zones of Linux' powercap tree, and the domain that each of them is.

https://docs.kernel.org/power/powercap/powercap.html. A zone is a folder with `name`, `energy_uj` and
`max_energy_range_uj`; a subzone's folder is named after its parent's (`intel-rapl:0:1` lies in `intel-rapl:0`),
and the class folder links to all of them side by side.

Containment: a package contains its cores and uncore; DRAM is metered beside the package; the platform counter (psys)
contains packages and DRAM. GPU boards are not in any of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from servewatt.meters.plausible import CEILING_W
from servewatt.records import Component, Domain, Grade

QUANTUM_S = 0.001
"""RAPL counters are updated about every millisecond (Intel SDM vol. 3B, 15.10)."""

PLATFORM_CEILING_W = 3000.0
"""Most power of a platform counter (psys). Firmware may state limits of 4 kW, meaning none at all."""


@dataclass(frozen=True)
class Zone:
    """A zone that this program knows."""

    folder: Path
    kind: str
    """package, core, uncore, dram or psys."""
    place: str
    """Socket (and die) it belongs to, such as `0` or `1-die-0`."""
    domain: Domain
    problem: str = ""
    """Why its files do not suffice to read it; empty if they do."""


def find_zones(root: Path) -> list[Zone]:
    """Every known zone once: the same counter also seen through intel-rapl-mmio is passed over."""
    names = sorted((p.name for p in root.glob("intel-rapl*:*")), key=_zone_order)
    zones: dict[str, Zone] = {}
    for name in names:
        zone = _zone(root, name)
        if zone is not None:
            zones.setdefault(zone.domain.name, zone)
    return list(zones.values())


def _zone_order(name: str) -> tuple[bool, str, list[int]]:
    interface, *numbers = name.split(":")
    return (interface != "intel-rapl", interface, [int(n) for n in numbers if n.isdigit()])


def _zone(root: Path, folder_name: str) -> Zone | None:
    folder = root / folder_name
    label = _text(folder / "name")
    if not label:
        # A socket, the platform or memory: its energy would be missing.
        kind, component = ("package", Component.CPU) if folder_name.count(":") == 1 else ("dram", Component.DRAM)
        unnamed = Domain(f"{component.value}:{folder_name.replace(':', '-')}", component, Grade.COUNTER, QUANTUM_S)
        return Zone(folder, kind, folder_name, unnamed, f"{folder / 'name'} cannot be read")
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
    return Zone(folder, kind, place, domain, problem)


def _max_power_w(folder: Path, ceiling_w: float) -> float:
    """The highest limit the zone states and enforces, as far as it can be believed.

    https://docs.kernel.org/power/powercap/powercap.html: where `enabled` is 0, the limits are not enforced.
    """
    if _number(folder / "enabled") == 0:
        return ceiling_w
    files = [*folder.glob("constraint_*_power_limit_uw"), *folder.glob("constraint_*_max_power_uw")]
    stated_w = max((number * 1e-6 for file in files if (number := _number(file))), default=0.0)
    return min(stated_w, ceiling_w) if stated_w > 0 else ceiling_w


def nest(zones: list[Zone]) -> tuple[Domain, ...]:
    """The zones' domains, each with the one that contains it."""
    platform = next((z.domain.name for z in zones if z.kind == "psys"), None)
    packages = {z.place: z.domain.name for z in zones if z.kind == "package"}

    def container(zone: Zone) -> str | None:
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
