"""Holm's correction, by hand, and over a family of batteries."""

from __future__ import annotations

import pytest

from servewatt.study.tests.family import correct_family, holm
from servewatt.study.tests.findings import Battery, Finding


def test_holm_by_hand() -> None:
    # Sorted 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1, which may not fall below 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.5, 0.6]) == (1.0, 1.0)
    assert holm([]) == ()


def battery(subject: str, *findings: Finding) -> Battery:
    return Battery(subject, "energy", 0.05, (("a", 3), ("b", 3)), findings)


def test_a_family_is_one_test_over_subjects() -> None:
    pair = ("a", "b")
    one, two = correct_family(
        [
            battery("one", Finding("levene", pair, 1.0, 0.03), Finding("welch-anova", pair, 5.0, 0.01)),
            battery("two", Finding("welch-anova", pair, 4.0, 0.04), Finding("levene", pair, refused="no group varies")),
        ]
    )
    assert [f.p_family for f in one.findings] == pytest.approx([0.03, 0.02])
    assert two.findings[0].p_family == pytest.approx(0.04)
    assert two.findings[1].p_family is None
    assert two.findings[0].p_value == 0.04


def test_dunn_is_not_corrected_twice() -> None:
    # z = 1.959964 is p = 0.05 and z = 2.575829 is p = 0.01: Holm over both gives 0.05 and 0.02.
    pair = ("a", "b")
    findings = [Finding("dunn-holm", pair, 1.959964, 0.15), Finding("dunn-holm", pair, -2.575829, 0.03)]
    corrected = correct_family([battery(str(i), f) for i, f in enumerate(findings)])
    assert [b.findings[0].p_family for b in corrected] == pytest.approx([0.05, 0.02], abs=1e-6)
