"""The battery in a terminal: every number with its test, every refusal with its reason."""

from __future__ import annotations

from rich.console import Console

from servewatt.stats.records import Interval, Verdict
from servewatt.study.tables.battery import render_examinations
from servewatt.study.tables.tests import refusals
from servewatt.study.tests.decision import Against, Decision
from servewatt.study.tests.examine import Examination
from servewatt.study.tests.findings import Battery, Effect, Finding

PAIR = ("<CPU, OV>", "<CPU, JIT>")


def battery(*findings: Finding, notes: tuple[str, ...] = ()) -> Battery:
    return Battery("phi2", "s_per_token", 0.05, ((PAIR[0], 5), (PAIR[1], 4)), findings, notes)


def shown(*examinations: Examination, notes: tuple[str, ...] = (), width: int = 120) -> str:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        render_examinations(console, examinations, notes)
    return captured.get()


def line(text: str, beginning: str) -> list[str]:
    words = beginning.split()
    return next(found for one in text.splitlines() if (found := one.split())[: len(words)] == words)


def test_p_values_and_effects_stand_beside_their_test() -> None:
    large, delta = Effect("omega squared", 0.96, "large"), Effect("cliff's delta", -0.4, "medium")
    text = shown(
        Examination(
            battery(
                Finding("shapiro-wilk", PAIR[:1], 0.91234, 0.3, 0.9),
                Finding("welch-anova", PAIR, 62.84, 0.00002, 0.0004, large),
                Finding("dunn-holm", PAIR, -1.2, 0.23, 0.46, delta),
                Finding("games-howell", PAIR, -3.4, 0.012, 0.12, delta),
            )
        )
    )
    assert text.startswith("phi2  execution time")
    assert line(text, "<CPU, OV> 5")[2:] == ["5", "0.9123", "0.300", "0.900"]
    assert line(text, "<CPU, JIT> 4")[2:] == ["4", "—", "—", "—"]
    assert line(text, "Welch ANOVA")[2:] == ["62.84", "<0.001*", "<0.001*", "0.96", "large"]
    assert line(text, "<CPU, OV> <CPU, JIT>")[4:] == ["0.230", "0.460", "0.012*", "0.120", "-0.40", "medium"]


def test_refusals_are_told_once_with_what_they_kept_from_being_computed() -> None:
    why = "<CPU, JIT> has one observation; a variance needs two"
    found = battery(
        Finding("shapiro-wilk", PAIR[:1], refused="all observations are equal"),
        Finding("shapiro-wilk", PAIR[1:], refused="all observations are equal"),
        Finding("levene", PAIR, refused=why),
        Finding("games-howell", PAIR, refused=why),
        Finding("dunn-holm", PAIR, -1.2, 0.23),
    )
    assert refusals(found) == [
        "Shapiro-Wilk of <CPU, OV>, <CPU, JIT>: all observations are equal",
        f"Levene, Games-Howell of <CPU, OV> and <CPU, JIT>: {why}",
    ]
    text = shown(Examination(found))
    assert "refused: Levene, Games-Howell of" in text
    assert line(text, "<CPU, OV> <CPU, JIT>")[4:] == ["0.230", "—", "—", "—", "—"]


def test_the_decision_and_where_it_differs() -> None:
    against = Against(PAIR[1], Interval(0.9, 0.8, 1.1, 5), Verdict.UNDECIDED, 4)
    decision = Decision("phi2", "s_per_token", 0.95, PAIR[0], (against,), ("<CPU, ONNX>",), "Undecided between both.")
    examination = Examination(battery(notes=("Dunn is blind here",)), decision, ("Games-Howell tells them apart",))
    text = shown(examination, notes=("1 row left out",))
    assert text.startswith("! 1 row left out")
    assert "note: Dunn is blind here" in text
    assert "servewatt: Undecided between both." in text
    assert "without a valid value: <CPU, ONNX>" in text
    assert "differs: Games-Howell tells them apart" in text
    assert "* p below 0.05" in text


def test_it_fits_a_narrow_terminal() -> None:
    delta = Effect("cliff's delta", -1.0, "negligible")
    names = ("<CUDA, TORCH, bf16>", "<CUDA, ONNX, bf16>")
    pair = [
        Finding("dunn-holm", names, -1.2, 0.23, 0.46, delta),
        Finding("games-howell", names, -3.4, 0.01, 0.12, delta),
    ]
    text = shown(Examination(Battery("m", "x", 0.05, ((names[0], 5), (names[1], 5)), tuple(pair))), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "negligible" in text
    assert "…" not in text


def test_long_names_are_wrapped_not_cut() -> None:
    names = ("<CUDA, torch-graph, int4, prefill_products=triton>", "<CUDA, torch-graph, int8, prefill_products=triton>")
    pair = Finding("dunn-holm", names, -1.2, 0.23, 0.46, Effect("cliff's delta", -1.0, "large"))
    text = shown(Examination(Battery("m", "x", 0.05, ((names[0], 5), (names[1], 5)), (pair,))), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
