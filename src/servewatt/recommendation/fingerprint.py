"""What a run's figures belong to: machine, work, procedure and software; and how two runs differ in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum

from servewatt.errors import InputError
from servewatt.records import Environment, Plan, Procedure

NOT_MEASURING = ("blocks", "seed", "timeout_s", "retries", "foreign_limit", "boundary", "duet")
"""Fields of a procedure that do not change what a token costs, or have a place of their own."""


class Part(StrEnum):
    """What a difference is about."""

    MACHINE = "machine"
    WORK = "work"
    PROCEDURE = "procedure"
    SOFTWARE = "software"


@dataclass(frozen=True)
class Machine:
    """The hardware."""

    digest: str
    """`Environment.fingerprint`."""
    cpu: str
    cpus: int
    memory_gib: int
    gpus: tuple[str, ...]
    virtual_machine: str


@dataclass(frozen=True)
class Work:
    """Model and workload."""

    model: str
    weights: str
    model_digest: str
    """Revision of the model: a commit, or a digest of its files."""
    prompts: int
    new_tokens: int
    stop: str
    prompts_digest: str
    """`Workload.digest`: prompts, length and stop rule."""


@dataclass(frozen=True)
class Measuring:
    """How it was measured."""

    boundary: str
    domains: tuple[str, ...]
    """Metered domains inside the boundary, each with its grade, such as `cpu (estimated)`."""
    turns: str
    """`duet` for slices that took turns, `blocks` for trials one after another."""
    settings: Mapping[str, str]
    """Of `Procedure`, what changes a result and is not as it is by default."""


@dataclass(frozen=True)
class Fingerprint:
    """All four parts."""

    machine: Machine
    work: Work
    procedure: Measuring
    software: Mapping[str, str]
    """Name -> version: system, kernel, Python and packages."""


@dataclass(frozen=True)
class Difference:
    """One thing in which two runs differ."""

    part: Part
    what: str
    base: str
    head: str

    def __str__(self) -> str:
        return f"{self.what}: {self.base or 'none'} against {self.head or 'none'}"


def fingerprint(plan: Plan, environment: Environment, *, boundary: str, domains: tuple[str, ...]) -> Fingerprint:
    """That of a run whose energy inside `boundary` is the sum of `domains`."""
    model, work, procedure = plan.model, plan.workload, plan.procedure
    machine = Machine(
        digest=environment.fingerprint,
        cpu=environment.cpu,
        cpus=environment.cpu_count,
        memory_gib=round((environment.memory_bytes or 0) / 2**30),
        gpus=tuple(gpu.name for gpu in environment.gpus),
        virtual_machine=environment.virtual_machine or "",
    )
    known = Work(
        model=model.name,
        weights=model.weights.value,
        model_digest=model.revision,
        prompts=len(work.prompts),
        new_tokens=work.new_tokens,
        stop=work.stop.value,
        prompts_digest=work.digest,
    )
    turns = "duet" if procedure.duet else "blocks"
    software = {"system": environment.system, "kernel": environment.kernel, "python": environment.python}
    software |= dict(environment.packages)
    return Fingerprint(machine, known, Measuring(boundary, domains, turns, _settings(procedure)), software)


def _settings(procedure: Procedure) -> dict[str, str]:
    usual = Procedure()
    told = (f.name for f in fields(Procedure) if f.name not in NOT_MEASURING)
    return {n: _text(getattr(procedure, n)) for n in told if getattr(procedure, n) != getattr(usual, n)}


def differences(base: Fingerprint, head: Fingerprint) -> tuple[Difference, ...]:
    """Everything in which they differ, machine first, software last."""
    return tuple(_differences(base, head))


def _differences(base: Fingerprint, head: Fingerprint) -> Iterator[Difference]:
    for part, name in ((Part.MACHINE, "machine"), (Part.WORK, "work"), (Part.PROCEDURE, "procedure")):
        one, other = getattr(base, name), getattr(head, name)
        for field in fields(one):
            mine, theirs = getattr(one, field.name), getattr(other, field.name)
            if isinstance(mine, Mapping):
                yield from _of_mappings(part, mine, theirs, missing="default")
            elif mine != theirs:
                yield Difference(part, field.name.replace("_", " "), _text(mine), _text(theirs))
    yield from _of_mappings(Part.SOFTWARE, base.software, head.software, missing="")


def _of_mappings(part: Part, base: Mapping[str, str], head: Mapping[str, str], *, missing: str) -> Iterator[Difference]:
    for name in sorted({*base, *head}):
        if base.get(name) != head.get(name):
            yield Difference(part, name, base.get(name, missing), head.get(name, missing))


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def check_comparable(base: Fingerprint, head: Fingerprint, *, across_machines: bool = False) -> tuple[Difference, ...]:
    """The differences, if costs can be compared in spite of them.

    Raises InputError that names the first ones if the work or the procedure differs, or, unless `across_machines`, the
    machine. On another machine other domains may be metered; that is then told, and no error.
    """
    found = differences(base, head)
    if work := [d for d in found if d.part is Part.WORK]:
        raise InputError(
            f"the two did different work: {_listed(work)}", "measure the same model with the same prompts and length"
        )
    machine = [d for d in found if d.part is Part.MACHINE]
    if machine and not across_machines:
        raise InputError(
            f"the two were measured on different machines: {_listed(machine)}",
            "measure both on one machine, or give --across-machines to compare them all the same",
        )
    procedure = [d for d in found if d.part is Part.PROCEDURE and not (machine and d.what == "domains")]
    if procedure:
        raise InputError(
            f"the two were measured in different ways: {_listed(procedure)}",
            "measure one of them again with the options of the other",
        )
    return found


MOST_TOLD = 4
_LONGEST = 80


def _listed(found: list[Difference]) -> str:
    # The digest of a machine says nothing where its parts do.
    told = [d for d in found if d.what != "digest"] or found
    shortened = [replace(d, base=_cut(d.base), head=_cut(d.head)) for d in told]
    rest = f"; and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return "; ".join(map(str, shortened[:MOST_TOLD])) + rest


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
