"""Checks of a race against what the machine said meanwhile: clocks, heat, counters, and what was answered."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

from servewatt.records import Grade, Precision, Result, Status, UtilisationSample
from servewatt.stats.compare import agreement
from servewatt.stats.race.warned import Kind, Margins, RaceWarning

THROTTLED_SHARE = 0.01
"""Of a configuration's samples. A board that keeps to its power or heat limit computes slower than another would."""
CLOCK_SHARE = 0.05
"""Change of the median clock from a configuration's first episode to its last: of compute-bound work, as much time."""
WARMER_K = 10.0
"""Rise from the first episode to the last. Leakage grows with temperature; a board that is still warming up has not yet
shown what it draws in service. The threshold is a judgement: ten kelvins are more than a settled board moves."""
QUANTUM_SHARE = 0.05
"""Of a slice's energy that its counter's step leaves open; five times the share of a whole trial (`quantum_share`), as
for its idle and prefill sections, because a level is over several slices."""
ESTIMATED_LEAD = 0.10
"""A lead that an estimate cannot be trusted with: it knows how busy CPUs are, not what they compute. A judgement; no
source bounds it for every CPU."""
OUTPUT_SHARE = 0.99
"""Of tokens. Engines that compute in fp32 agree but where two tokens are nearly as likely."""


def machine_warnings(results: Sequence[Result], ahead: Margins) -> Iterator[RaceWarning]:
    """All of them, for slices and for whole trials; `results` with their samples."""
    valid = [r for r in results if r.status is Status.OK]
    by_key: dict[str, list[Result]] = defaultdict(list)
    for result in sorted(valid, key=lambda r: r.trial.block):
        by_key[result.trial.configuration.key].append(result)
    for key, own in sorted(by_key.items()):
        yield from throttled(key, own, ahead)
        yield from clock(key, own, ahead)
        yield from warmer(key, own, ahead)
        yield from quantum(key, own, ahead)
        yield from same_outputs(key, own, ahead)
    yield from estimated(valid, ahead)
    yield from agreeing_outputs(by_key, ahead)


def throttled(key: str, own: Sequence[Result], ahead: Margins) -> Iterator[RaceWarning]:
    """Size: share of the samples at work in which the GPU throttled."""
    told = [s.gpu_throttled for result in own for s in _at_work(result) if s.gpu_throttled is not None]
    size = sum(told) / len(told) if told else 0.0
    if size > THROTTLED_SHARE:
        limit = _percent(THROTTLED_SHARE)
        text = f"{key}: the GPU throttled its clocks in {_percent(size)} of samples (threshold {limit})"
        yield RaceWarning(Kind.THROTTLED, key, size, THROTTLED_SHARE, text, ahead.overturned_by(math.log1p(size), key))


def clock(key: str, own: Sequence[Result], ahead: Margins) -> Iterator[RaceWarning]:
    """Size: change of the clock of the GPU, else of the CPU, from the first episode to the last, as a share."""
    for what, field in (("GPU", "gpu_clock_mhz"), ("CPU", "cpu_clock_mhz")):
        of: Callable[[UtilisationSample], float | None] = attrgetter(field)
        told = ([mhz for sample in _at_work(result) if (mhz := of(sample))] for result in own)
        medians = [statistics.median(clocks) for clocks in told if clocks]
        if len(medians) < 2:
            continue
        size = abs(medians[-1] / medians[0] - 1)
        if size > CLOCK_SHARE:
            text = (
                f"{key}: the {what}'s clock went from {medians[0]:.0f} to {medians[-1]:.0f} MHz between its first "
                f"episode and its last, {_percent(size)} (threshold {_percent(CLOCK_SHARE)})"
            )
            yield RaceWarning(Kind.CLOCK, key, size, CLOCK_SHARE, text, ahead.overturned_by(math.log1p(size), key))
        return


def warmer(key: str, own: Sequence[Result], ahead: Margins) -> Iterator[RaceWarning]:
    """Size: by how many kelvins the GPU was warmer in the last episode than in the first.

    It counts as 1 % of the energy for ten kelvins.
    """
    medians = [
        statistics.median(told)
        for result in own
        if (told := [s.gpu_temperature_c for s in _at_work(result) if s.gpu_temperature_c is not None])
    ]
    size = medians[-1] - medians[0] if len(medians) > 1 else 0.0
    if size > WARMER_K:
        text = (
            f"{key}: the GPU warmed up from {medians[0]:.0f} to {medians[-1]:.0f} °C, by {size:.0f} K "
            f"(threshold {WARMER_K:.0f} K): later episodes are nearer to what it draws in service"
        )
        yield RaceWarning(Kind.TEMPERATURE, key, size, WARMER_K, text, ahead.overturned_by(1e-3 * size, key))


def quantum(key: str, own: Sequence[Result], ahead: Margins) -> Iterator[RaceWarning]:
    """Size: share of a slice's energy that the steps of its counters leave open, in the middle of its slices.

    What could overturn the choice is that share over the root of their number.
    """
    shares = []
    for result in own:
        for one in result.slices:
            counted = [e for e in one.energy if e.counted]
            energy_j = math.fsum(e.energy_j for e in counted)
            if one.round >= 0 and not one.fault and energy_j > 0:
                shares.append(math.fsum(e.error_j for e in counted) / energy_j)
    size = statistics.median(shares) if shares else 0.0
    if size > QUANTUM_SHARE:
        text = (
            f"{key}: the counter's step is {_percent(size)} of a slice's energy (threshold {_percent(QUANTUM_SHARE)}): "
            "longer slices would tell more"
        )
        overturns = ahead.overturned_by(math.log1p(size / math.sqrt(len(shares))), key)
        yield RaceWarning(Kind.QUANTUM, key, size, QUANTUM_SHARE, text, overturns)


def estimated(valid: Sequence[Result], ahead: Margins) -> Iterator[RaceWarning]:
    """Size: the least lead of the choice, as a share, where energies are partly or wholly estimated."""
    works = (work for r in valid for work in (r.slices or filter(None, [r.section("generate")])))
    grades = {e.grade for work in works for e in work.energy if e.counted}
    if Grade.ESTIMATED not in grades or not ahead.leads:
        return
    rival, lead = min(ahead.leads.items(), key=lambda pair: (pair[1], pair[0]))
    size = abs(math.expm1(lead))
    if size < ESTIMATED_LEAD:
        text = (
            f"{ahead.choice} is {_percent(size)} from {rival}, and energy is estimated from how busy the CPU is "
            f"(below {_percent(ESTIMATED_LEAD)} that cannot decide): a meter that counts would tell"
        )
        overturns = ahead.overturned_by(math.log1p(ESTIMATED_LEAD))
        yield RaceWarning(Kind.ESTIMATED, None, size, ESTIMATED_LEAD, text, overturns)


def same_outputs(key: str, own: Sequence[Result], ahead: Margins) -> Iterator[RaceWarning]:
    """Size: share of tokens that a configuration answered otherwise in another episode."""
    answered = [result for result in own if result.outputs]
    share = agreement(answered[1:], answered[0]) if len(answered) > 1 else None
    if share is not None and share < 1:
        text = (
            f"{key}: {_percent(1 - share)} of its output tokens differ from one process to another (threshold 0 %): "
            "it does not do the same work each time"
        )
        yield RaceWarning(Kind.OUTPUTS, key, 1 - share, 0.0, text, ahead.overturned_by(math.log1p(1 - share), key))


def agreeing_outputs(by_key: dict[str, list[Result]], ahead: Margins) -> Iterator[RaceWarning]:
    """Size: share of tokens that a configuration in fp32 answers otherwise than the first one in fp32.

    One that works wrongly may be cheap for it, so it could overturn the choice where it is the choice.
    """
    exact = {
        key: own
        for key, own in sorted(by_key.items())
        if own[0].trial.configuration.precision is Precision.FP32 and own[0].outputs
    }
    if not exact:
        return
    reference = next((key for key in exact if key.startswith("torch/")), next(iter(exact)))
    for key, own in exact.items():
        share = agreement(own, exact[reference][0]) if key != reference else None
        if share is not None and share < OUTPUT_SHARE:
            text = (
                f"{key}: only {_percent(share)} of its output tokens equal those of {reference}, though both compute "
                f"in fp32 (threshold {_percent(OUTPUT_SHARE)}): one of them works wrongly"
            )
            overturns = ahead.choice in (key, reference)
            yield RaceWarning(Kind.OUTPUTS, key, 1 - share, 1 - OUTPUT_SHARE, text, overturns)


def _at_work(result: Result) -> Iterator[UtilisationSample]:
    """The samples in slices, or in the generation of a whole trial."""
    whole = result.section("generate")
    windows = [(s.start_s, s.start_s + s.work_s) for s in result.slices]
    if not windows and whole is not None:
        windows = [(whole.start_s, whole.start_s + whole.duration_s)]
    for sample in result.utilisation:
        if any(begin_s <= sample.time_s <= end_s for begin_s, end_s in windows):
            yield sample


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
