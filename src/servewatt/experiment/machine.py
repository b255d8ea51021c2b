"""The machine that measures: what is metered on it, and whether that goes with what was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sized

from servewatt.advice import Action, Advice, Setting
from servewatt.errors import InputError, UnavailableError
from servewatt.harness.environment import describe
from servewatt.harness.fitness import memory_bandwidth_bytes_s
from servewatt.meters import METERS, open_meters
from servewatt.meters.nvml import first_visible_board
from servewatt.meters.steps import check_steps
from servewatt.records import Boundary, Component, Configuration, Domain, Environment, Procedure, Provider
from servewatt.stats.energy import COMPONENTS

BANDWIDTH_S = 1.0
"""Time spent on measuring the memory's bandwidth."""


def described(domains: tuple[Domain, ...]) -> Environment:
    """This machine, its software and its memory bandwidth, which takes a second to measure."""
    return describe(domains, memory_bandwidth_bytes_s(BANDWIDTH_S))


def metered_domains(procedure: Procedure) -> tuple[Domain, ...]:
    """What the procedure's meters read on this machine.

    Raises UnavailableError where the boundary is a part of the machine that none of them reads, and where a counter
    stands still.
    """
    meters = open_meters(procedure.meters, procedure.cpu_watts)
    try:
        domains = tuple(domain for meter in meters for domain in meter.domains())
        check_steps(meters)
    finally:
        for meter in meters:
            meter.close()
    check_boundary(procedure.boundary, domains)
    return domains


def check_boundary(boundary: Boundary, domains: Iterable[Domain]) -> None:
    """Raise UnavailableError if `boundary` is a part of the machine of which no domain tells the energy."""
    inside = COMPONENTS[boundary]
    if boundary is not Boundary.MACHINE and not any(d.component in inside for d in domains):
        raise UnavailableError(
            f"boundary {boundary.value}: no meter here reads the energy of a {boundary.value.upper()}",
            Advice("leave out the boundary to count all that is metered; see ", Action.DOCTOR),
        )


def board_in_use(meters: Iterable[str]) -> int | None:
    """Number of the GPU that CUDA computes on; None if that is not known, or `meters` imitate boards."""
    imitated = any(not METERS[kind].real for name in meters if (kind := name.partition(":")[0]) in METERS)
    return None if imitated else first_visible_board()


def check_boards(configurations: Iterable[Configuration], domains: Iterable[Domain], in_use: int | None) -> None:
    """Raise InputError if boards are metered, but not number `in_use`, on which CUDA configurations would compute."""
    boards = tuple(dict.fromkeys(d.name for d in domains if d.component is Component.GPU))
    on_cuda = any(c.provider is Provider.CUDA for c in configurations)
    if on_cuda and boards and in_use is not None and f"gpu:{in_use}" not in boards:
        raise InputError(
            f"CUDA computes on gpu:{in_use} here, which is not metered ({', '.join(boards)} {_is(boards)})",
            Advice(
                Setting.METERS.to(f"nvml:{in_use}"),
                " meters it; or choose the other one by its number: "
                "CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=NUMBER",
            ),
        )


def _is(things: Sized) -> str:
    return "is" if len(things) == 1 else "are"
