"""The meter protocol: domains whose cumulative energy (or power) can be read."""

from __future__ import annotations

from typing import Protocol

from servewatt.records import Domain, PowerSample, Reading


class Meter(Protocol):
    """Reads the energy of some domains of this machine.

    A domain that is absent is not listed: never zero, never a guess. Domains graded `counter` or `estimated`
    appear in `read`; domains graded `integrated` have no counter and appear only in `power`, which the harness
    integrates. `power` may also give counted domains, for the record of power over time.
    """

    name: str
    present: bool
    """Whether the machine shows what this meter reads, whether or not it can be read. When no meter is named, absent
    ones are skipped, and a present one that fails is reported."""
    remarks: tuple[str, ...]
    """Which domains are left out, and why, as text for people."""

    def unavailable(self) -> tuple[str, str] | None:
        """None if the meter can read all of its machine's domains; else (reason, what would mend it).

        A sum over part of a machine would look like the whole. So a domain that exists and cannot be read makes the
        meter unavailable, unless the user named the domains.
        """
        ...

    def domains(self) -> tuple[Domain, ...]:
        """The domains this meter reads here; fixed for the life of the meter."""
        ...

    def read(self) -> tuple[Reading, ...]:
        """One cumulative reading of each domain that has one. Wraps are corrected by the caller.

        A domain whose counter fails has no reading: neither zero nor the previous value.
        """
        ...

    def power(self) -> tuple[PowerSample, ...]:
        """Present power in watts of each domain that has a sensor; implausible values (`is_power`) are left out."""
        ...

    def close(self) -> None: ...
