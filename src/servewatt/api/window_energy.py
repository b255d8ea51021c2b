"""The energy of a window of an `EnergyMeter`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from servewatt.errors import InputError, ServewattError, nearest
from servewatt.records import DomainEnergy, Section
from servewatt.stats.energy import grade_line


@dataclass(frozen=True)
class WindowEnergy:
    """The joules, time and CPU time between the two ends of a window.

    If the energy is unknown (a meter failed, an implausible reading, a suspend), `problem` says why, and every energy
    property raises it: a part of the joules would look like a saving.
    """

    section: Section
    cpu_count: int
    """CPUs that this process may use."""
    raised: str = ""
    """Type of the exception that ended the window; empty where none did."""
    problem: ServewattError | None = None
    idle_power_w: Mapping[str, float] = field(default_factory=dict)
    """Watts by domain before the outermost window, with the program loaded and doing nothing; empty if not asked."""

    @property
    def name(self) -> str:
        return self.section.name

    @property
    def duration_s(self) -> float:
        """Seconds between the two ends."""
        return self.section.duration_s

    @property
    def energy(self) -> tuple[DomainEnergy, ...]:
        """Each metered domain's joules, bound of their error and grade; raises `problem`."""
        if self.problem is not None:
            raise self.problem
        return self.section.energy

    @property
    def energy_j(self) -> float:
        """Joules of all domains that no other one contains; raises `problem`."""
        return sum(e.energy_j for e in self._counted)

    @property
    def error_j(self) -> float:
        """Bound of the error of `energy_j` that the counters' steps and the power samples cause; raises `problem`.

        It does not cover the error of an estimate's model; `grade` names estimates.
        """
        return sum(e.error_j for e in self._counted)

    @property
    def grade(self) -> str:
        """The source of the joules, best first: `counter`, `integrated`, `estimated`, or several with ` + `."""
        return grade_line(e.grade for e in self._counted)

    @property
    def power_w(self) -> float:
        """Mean power in watts; raises `problem`."""
        return self.energy_j / self.duration_s

    @property
    def active_j(self) -> float | None:
        """Joules less idle power times duration; None where idle power was not measured.

        Raises `problem`.
        """
        if not all(e.domain in self.idle_power_w for e in self._counted):
            return None
        return sum(e.energy_j - self.idle_power_w[e.domain] * self.duration_s for e in self._counted)

    @property
    def foreign_cpu_share(self) -> float | None:
        """Share of the usable CPUs that other processes used meanwhile, 0 to 1; None where the kernel does not tell."""
        foreign_s = self.section.foreign_cpu_s
        if foreign_s is None or self.duration_s <= 0:
            return None
        return min(1.0, foreign_s / (self.duration_s * self.cpu_count))

    def of(self, domain: str) -> DomainEnergy:
        """The energy of one domain. Raises InputError for one that was not metered, or `problem`."""
        for energy in self.energy:
            if energy.domain == domain:
                return energy
        raise InputError(f"{domain} was not metered", nearest(domain, (e.domain for e in self.energy)))

    @property
    def _counted(self) -> tuple[DomainEnergy, ...]:
        return tuple(e for e in self.energy if e.counted)

    def __str__(self) -> str:
        """Such as `decode: 210 J (+-2.1 J, counter) in 2.00 s, 105 W; cpu:package-0 40 J, gpu:0 170 J`."""
        head = f"{self.name}: "
        if self.problem is not None:
            return f"{head}no energy, {self.problem.message} ({self.problem.hint})"
        parts = ", ".join(f"{e.domain} {e.energy_j:.3g} J" for e in self._counted)
        told = f"{self.energy_j:.4g} J (+-{self.error_j:.2g} J, {self.grade}) in {self.duration_s:.3g} s"
        return f"{head}{told}, {self.power_w:.3g} W; {parts}"

    def _repr_html_(self) -> str:
        """A table of the domains, for notebooks."""
        if self.problem is not None:
            return f"<p>{escape(str(self))}</p>"
        heads = ("domain", "J", "error, J", "grade")
        rows = [(e.domain, f"{e.energy_j:.4g}", f"{e.error_j:.2g}", e.grade.value) for e in self.energy]
        rows.append(("sum", f"{self.energy_j:.4g}", f"{self.error_j:.2g}", self.grade))
        lines = [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
        caption = escape(f"{self.name}: {self.duration_s:.3g} s, {self.power_w:.3g} W")
        head = "".join(f"<th>{h}</th>" for h in heads)
        return f"<table><caption>{caption}</caption><tr>{head}</tr>{''.join(lines)}</table>"
