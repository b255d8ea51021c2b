"""Correction over the whole family of a study's tests, which the published study leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from servewatt.study.tests.findings import Battery, Finding
from servewatt.study.tests.posthoc import DUNN, normal_p


def correct_family(batteries: Iterable[Battery]) -> tuple[Battery, ...]:
    """The batteries with `p_family` filled in: Holm's correction over all findings of the same test.

    A family is one test over every subject, variable and group (or pair) that it was computed for: twelve models and
    eight variables make 96 Welch ANOVAs, and at 0.05 about five of them would reject by chance alone. Dunn's p-values
    enter as they were before their own correction within the subject, so that nothing is corrected twice. Those of
    Games-Howell enter as they are: the studentised range has made them larger than an uncorrected pair's, so the
    family's are on the careful side. Refused findings belong to no family.
    """
    found = tuple(batteries)
    families: dict[str, list[float]] = {}
    for battery in found:
        for finding in battery.findings:
            p_value = _uncorrected(finding)
            if p_value is not None:
                families.setdefault(finding.test, []).append(p_value)
    # Findings meet their corrected values again in the order in which they were gathered.
    corrected = {test: iter(holm(p_values)) for test, p_values in families.items()}
    return tuple(
        replace(
            battery,
            findings=tuple(
                f if _uncorrected(f) is None else replace(f, p_family=next(corrected[f.test])) for f in battery.findings
            ),
        )
        for battery in found
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm-adjusted p-values, in the order given.

    The i-th smallest of m is multiplied by m - i + 1, is never below a smaller one's, and at most 1.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    m = len(p_values)
    adjusted = [0.0] * m
    least = 0.0
    for place, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        least = min(1.0, max(least, (m - place) * p_values[index]))
        adjusted[index] = least
    return tuple(adjusted)


def _uncorrected(finding: Finding) -> float | None:
    if finding.test == DUNN and finding.statistic is not None:
        return normal_p(finding.statistic)
    return finding.p_value
