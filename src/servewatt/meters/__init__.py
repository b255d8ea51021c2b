"""Meters by name. To add one: its file, its line here, its extra in pyproject.toml."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from servewatt.errors import InputError, UnavailableError, nearest
from servewatt.meters.base import Meter
from servewatt.meters.steps import standing_still
from servewatt.records import Component, Domain

__all__ = [
    "METERS",
    "Meter",
    "MeterEntry",
    "MeterState",
    "create",
    "check_steps",
    "entry",
    "open_meters",
    "standing_still",
    "survey",
]


@dataclass(frozen=True)
class MeterEntry:
    """Describes a meter without importing it."""

    name: str
    summary: str
    target: str
    """`module:Class`."""
    extra: str = ""
    """The extra of servewatt that installs what it needs; empty if servewatt alone is enough."""
    real: bool = True
    """Whether it reads this machine; only such meters are opened when none is named."""
    substitute: str = ""
    """The meter that covers the same part of the machine when this one cannot be read."""


@dataclass(frozen=True)
class MeterState:
    """What a meter can read on this machine, or why it cannot."""

    entry: MeterEntry
    domains: tuple[Domain, ...] = ()
    reason: str = ""
    """Empty if it can read."""
    hint: str = ""
    remarks: tuple[str, ...] = ()
    """Which domains are left out, and why."""
    still: tuple[str, ...] = ()
    """Domains whose counter does not move, so that they give no energy."""


METERS: dict[str, MeterEntry] = {
    e.name: e
    for e in (
        MeterEntry("nvml", "NVIDIA GPU boards: energy counter, or power", "servewatt.meters.nvml:NvmlMeter"),
        MeterEntry(
            "rapl",
            "CPU package, DRAM and platform counters",
            "servewatt.meters.rapl:RaplMeter",
            substitute="estimate",
        ),
        MeterEntry("estimate", "CPU power modelled from utilisation", "servewatt.meters.estimate:EstimateMeter"),
        MeterEntry("replay", "Plays a recording: replay:FILE.json", "servewatt.meters.replay:ReplayMeter", real=False),
        MeterEntry(
            "fake", "Constant power, no hardware: fake:gpu:0=100", "servewatt.meters.fake:FakeMeter", real=False
        ),
    )
}


def entry(name: str) -> MeterEntry:
    """The table's line for `name`; InputError with the nearest names if there is none."""
    if name not in METERS:
        raise InputError(f"unknown meter {name!r}", nearest(name, METERS))
    return METERS[name]


def create(
    name: str, *, cpu_watts: tuple[float, float] | None = None, within: str | None = None, **options: Any
) -> Meter:
    """The meter called `name`, whether or not it can read anything here.

    `replay:FILE`, `nvml:BOARD` (one GPU of several), `rapl:DOMAIN,...` (those domains alone) and
    `fake:DOMAIN=WATTS,...` carry their argument after the colon. `cpu_watts` and `within` are the estimate's; `options`
    go to the meter's constructor.
    """
    short, _, argument = name.partition(":")
    known = entry(short)
    module, _, attribute = known.target.partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    meter: Meter
    if short == "replay":
        if not argument:
            raise InputError("the replay meter needs a recording", "replay:FILE.json")
        meter = kind(argument, **options)
    elif short == "fake":
        meter = kind.from_text(argument) if argument else kind(**options)
    elif short == "nvml" and argument:
        if not argument.isdecimal():
            raise InputError(f"nvml:{argument} names no GPU", "give its number, such as nvml:0")
        meter = kind(only=int(argument), **options)
    elif short == "rapl" and argument:
        meter = kind(only=_domains_named(name, argument), **options)
    elif argument:
        raise InputError(f"meter {short!r} takes no argument, but got {argument!r}", f"write {short}")
    elif short == "estimate":
        meter = kind(cpu_watts, within=within, **options)
    else:
        meter = kind(**options)
    return meter


def open_meters(names: Sequence[str], cpu_watts: tuple[float, float] | None = None) -> tuple[Meter, ...]:
    """The named meters, or every real one that is available when `names` is empty.

    Unasked, the estimate is opened only where no counter covers the CPU. Named beside one that does, it is marked
    as lying within it, so its joules are shown but never added. Raises UnavailableError, with the reason and what
    would mend it, if a named meter cannot read anything here, when nothing at all can, and, unasked, when a part of
    the machine is there whose meter fails and no other one stands in for it.
    """
    chosen = tuple(dict.fromkeys(names)) or tuple(e.name for e in METERS.values() if e.real)
    opened: list[Meter] = []
    reasons = []
    try:
        # The estimate comes last, as it depends on what the others cover.
        for name in sorted(chosen, key=lambda n: n == "estimate"):
            covering = _cpu_domain(opened) if name == "estimate" else None
            if covering is not None and not names:
                continue
            meter = create(name, cpu_watts=cpu_watts, within=covering)
            problem = meter.unavailable()
            if problem is None:
                opened.append(meter)
                continue
            meter.close()
            reasons.append(f"{name}: {problem[0]}")
            if names or (meter.present and not entry(name).substitute):
                others = "" if names else f"; or name the meters to measure with, without it: {_others(name)}"
                raise UnavailableError(f"meter {name!r} is not available: {problem[0]}", problem[1] + others)
        if not opened:
            raise UnavailableError(f"no energy meter is available ({'; '.join(reasons)})", "see servewatt doctor")
        _check_distinct(opened)
    except BaseException:
        for meter in opened:
            meter.close()
        raise
    return tuple(opened)


def survey(cpu_watts: tuple[float, float] | None = None) -> tuple[MeterState, ...]:
    """Every real meter with what it reads on this machine, or why not and what would mend it."""
    states = []
    covering: str | None = None
    for known in METERS.values():
        if not known.real:
            continue
        meter = create(known.name, cpu_watts=cpu_watts, within=covering)
        covering = covering or _cpu_domain((meter,))
        reason, hint = meter.unavailable() or ("", "")
        still = standing_still((meter,))
        states.append(MeterState(known, meter.domains(), reason, hint, meter.remarks, still))
        meter.close()
    return tuple(states)


def _domains_named(name: str, argument: str) -> tuple[str, ...]:
    """The domains that `rapl:DOMAIN,...` names."""
    named = tuple(filter(None, argument.split(",")))
    kinds = tuple(f"{component.value}:" for component in Component)
    if not named or not all(domain.startswith(kinds) for domain in named):
        raise InputError(f"{name} names no domain", "such as rapl:cpu:package-0,dram:0 (servewatt doctor lists them)")
    return named


def _others(name: str) -> str:
    """The other real meters, as a hint gives them."""
    return " or ".join(f"--meter {e.name}" for e in METERS.values() if e.real and e.name != name)


def _cpu_domain(meters: Sequence[Meter]) -> str | None:
    """A domain that holds the CPU's energy, if any meter has one."""
    domains = [d for meter in meters for d in meter.domains() if d.within is None]
    covering = [d.name for d in domains if d.component in (Component.CPU, Component.MACHINE)]
    return covering[0] if covering else None


def _check_distinct(meters: Sequence[Meter]) -> None:
    seen: dict[str, str] = {}
    for meter in meters:
        for domain in meter.domains():
            if domain.name in seen:
                raise InputError(
                    f"meters {seen[domain.name]!r} and {meter.name!r} both read {domain.name}", "name one of them"
                )
            seen[domain.name] = meter.name
