"""What a meter is: domains whose cumulative energy (or power) can be read."""

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
    """Whether the machine shows what this meter reads, whether or not it can be read. Unasked, a meter of what is
    absent is passed over; one that is present and fails is told."""
    remarks: tuple[str, ...]
    """What of it is left out, and why: for people."""

    def unavailable(self) -> tuple[str, str] | None:
        """None if the meter can read all of its machine's domains; else (reason, what would mend it).

        Part of a machine must not pass for all of it: a domain that exists and cannot be read makes the meter
        unavailable, unless its user named the domains wanted.
        """
        ...

    def domains(self) -> tuple[Domain, ...]:
        """The domains this meter reads here; fixed for the life of the meter."""
        ...

    def read(self) -> tuple[Reading, ...]:
        """One cumulative reading of each domain that has one. Wraps are corrected by the caller.

        A domain whose counter fails now has no reading: never a zero, and never the last one again.
        """
        ...

    def power(self) -> tuple[PowerSample, ...]:
        """Present power of each domain that can tell it; what is no power (`is_power`) is left out."""
        ...

    def close(self) -> None: ...
