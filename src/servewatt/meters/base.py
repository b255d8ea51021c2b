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

    def unavailable(self) -> tuple[str, str] | None:
        """None if the meter can read something here; else (reason, what would mend it)."""
        ...

    def domains(self) -> tuple[Domain, ...]:
        """The domains this meter reads here; fixed for the life of the meter."""
        ...

    def read(self) -> tuple[Reading, ...]:
        """One cumulative reading of each domain that has one. Wraps are corrected by the caller."""
        ...

    def power(self) -> tuple[PowerSample, ...]:
        """Present power of each domain that can tell it."""
        ...

    def close(self) -> None: ...
