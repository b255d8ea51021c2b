"""A meter that plays a recording back. For tests, for teaching, and for examining a strange window again.

The recording is a JSON object with `domains`, a list of objects with the fields of `servewatt.records.Domain`, and
`readings`, a list of [seconds, {domain: joules}] in order of time:

    {"domains": [{"name": "gpu:0", "component": "gpu", "grade": "counter", "quantum_s": 0.1}],
     "readings": [[0.0, {"gpu:0": 0.0}], [1.0, {"gpu:0": 80.0}], [2.0, {"gpu:0": 380.0}]]}
"""

from __future__ import annotations

import bisect
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from servewatt import wire
from servewatt.errors import InputError
from servewatt.input_files import read_text, shown
from servewatt.meters.plausible import is_power
from servewatt.records import Domain, Grade, PowerSample, Reading


@dataclass(frozen=True)
class Recording:
    """What the file holds; `readings` are (seconds, joules of each domain)."""

    domains: tuple[Domain, ...]
    readings: tuple[tuple[float, dict[str, float]], ...]


class ReplayMeter:
    """Reads what the recording held at the same time after its start; after its end it starts again.

    Energies go on from round to round (through the counter's range where it has one), so any window is served.
    """

    name = "replay"
    present = True
    remarks: tuple[str, ...] = ()

    def __init__(self, path: Path | str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._domains, self._times_s, self._energies_j = _load(Path(path))
        self._clock = clock
        self._start_s = clock()

    def unavailable(self) -> tuple[str, str] | None:
        return None

    def domains(self) -> tuple[Domain, ...]:
        return self._domains

    def read(self) -> tuple[Reading, ...]:
        now_s = self._clock()
        rounds, index = self._place(now_s)
        readings = []
        for domain in self._domains:
            if domain.grade is Grade.INTEGRATED:
                continue
            course_j = self._energies_j[domain.name]
            energy_j = rounds * (course_j[-1] - course_j[0]) + course_j[index]
            readings.append(Reading(domain.name, now_s, energy_j % domain.range_j if domain.range_j else energy_j))
        return tuple(readings)

    def power(self) -> tuple[PowerSample, ...]:
        """Mean power between the recorded readings before and after this moment."""
        now_s = self._clock()
        _, index = self._place(now_s)
        width_s = self._times_s[index + 1] - self._times_s[index]
        courses = ((domain, self._energies_j[domain.name]) for domain in self._domains)
        powers = ((domain, (course_j[index + 1] - course_j[index]) / width_s) for domain, course_j in courses)
        return tuple(PowerSample(d.name, now_s, power_w) for d, power_w in powers if is_power(d, power_w))

    def close(self) -> None:
        pass

    def _place(self, now_s: float) -> tuple[int, int]:
        """Whole rounds played, and the last recorded reading at or before this moment of the round."""
        first_s, last_s = self._times_s[0], self._times_s[-1]
        rounds, within_s = divmod(now_s - self._start_s, last_s - first_s)
        return int(rounds), min(bisect.bisect_right(self._times_s, first_s + within_s), len(self._times_s) - 1) - 1


def _load(path: Path) -> tuple[tuple[Domain, ...], list[float], dict[str, list[float]]]:
    hint = "servewatt.meters.replay describes the format"
    text = read_text(path, "name a recording: replay:FILE.json")
    try:
        recording = wire.load(Recording, text)
    except InputError as error:
        raise InputError(f"{shown(path)} is not a recording: {error.message}", hint) from error
    for domain in recording.domains:
        if (
            domain.quantum_s < 0
            or (domain.max_power_w or 0) < 0
            or (domain.range_j is not None and domain.range_j <= 0)
        ):
            raise InputError(
                f"{shown(path)} is not a recording: {domain.name} has a negative number, or no range", hint
            )
    domains, times_s = recording.domains, [time_s for time_s, _ in recording.readings]
    if not domains or len(times_s) < 2 or any(b <= a for a, b in itertools.pairwise(times_s)):
        raise InputError(f"{shown(path)} needs a domain and two readings or more, in order of time", hint)
    for number, (_, joules) in enumerate(recording.readings):
        if missing := [d.name for d in domains if d.name not in joules]:
            raise InputError(f"{shown(path)} is not a recording: readings.{number} lacks {missing[0]}", hint)
    course_j = {d.name: [joules[d.name] for _, joules in recording.readings] for d in domains}
    return domains, times_s, {d.name: _unwrapped(course_j[d.name], d.range_j) for d in domains}


def _unwrapped(course_j: list[float], range_j: float | None) -> list[float]:
    laps_j, previous, unwrapped = 0.0, course_j[0], []
    for energy_j in course_j:
        if range_j and energy_j < previous:
            laps_j += range_j
        previous = energy_j
        unwrapped.append(energy_j + laps_j)
    return unwrapped
