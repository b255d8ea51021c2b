"""Which metered domains count inside a boundary, and what a section drew in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from servewatt.records import Boundary, Component, Domain, DomainEnergy, Grade, Result, Section

COMPONENTS: Mapping[Boundary, frozenset[Component]] = {
    Boundary.MACHINE: frozenset(Component),
    Boundary.CPU: frozenset({Component.CPU, Component.DRAM}),
    Boundary.GPU: frozenset({Component.GPU}),
}


_PLACE = {grade: place for place, grade in enumerate(Grade)}


def counted_domains(
    boundary: Boundary, domains: Iterable[Domain], results: Iterable[Result], section: str = "generate"
) -> frozenset[str]:
    """Names of the domains to add up inside `boundary`, over everything the trials metered in `section`.

    A domain counts unless another one inside the same boundary contains it: a package inside a machine-wide domain
    is left out of the machine's energy, yet is the CPU's.
    """
    containers = {domain.name: domain.within for domain in domains}
    metered: dict[str, DomainEnergy] = {}
    for result in results:
        found = result.section(section)
        for energy in found.energy if found else ():
            if energy.grade is not Grade.MISSING and energy.component in COMPONENTS[boundary]:
                metered.setdefault(energy.domain, energy)

    def contained(energy: DomainEnergy) -> bool:
        if boundary is Boundary.MACHINE or energy.domain not in containers:
            return not energy.counted
        outer = containers[energy.domain]
        while outer is not None and outer not in metered:
            outer = containers.get(outer)
        return outer is not None

    return frozenset(name for name, energy in metered.items() if not contained(energy))


def section_energies(section: Section | None, domains: frozenset[str]) -> tuple[DomainEnergy, ...] | None:
    """What the section drew in each of `domains`.

    None if there is no section, no domain, or any of them was not metered: a sum with a part missing would look
    like a saving.
    """
    if section is None or not domains:
        return None
    found = {e.domain: e for e in section.energy if e.domain in domains and e.grade is not Grade.MISSING}
    return tuple(found[name] for name in sorted(found)) if len(found) == len(domains) else None


def section_powers(section: Section | None, domains: frozenset[str]) -> dict[str, float] | None:
    """Mean power of each of `domains` over the section, in watts; None where `section_energies` is, or without time."""
    energies = section_energies(section, domains)
    if section is None or energies is None or section.duration_s <= 0:
        return None
    return {e.domain: e.energy_j / section.duration_s for e in energies}


def total_j(energies: Iterable[DomainEnergy] | None) -> float | None:
    """The sum in joules; None stays None."""
    return None if energies is None else sum(e.energy_j for e in energies)


def worst(grades: Iterable[Grade]) -> Grade:
    """The least trustworthy of some grades; MISSING for none."""
    return max(grades, key=_PLACE.__getitem__, default=Grade.MISSING)


def grade_line(grades: Iterable[Grade]) -> str:
    """Different grades in one line, best first, such as `counter + estimated`."""
    present = set(grades)
    return " + ".join(grade.value for grade in Grade if grade in present)
