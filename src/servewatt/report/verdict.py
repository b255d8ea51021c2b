"""A gate's verdict for people and for CI: text, Markdown, JSON, JUnit XML, and github-action-benchmark's JSON."""

from __future__ import annotations

import json
import math
from xml.etree import ElementTree

from servewatt import wire
from servewatt.errors import counted
from servewatt.recommendation.fingerprint import Difference, Part
from servewatt.recommendation.gate import Change, Compared, Metric, Outcome, Verdict
from servewatt.records import Interval
from servewatt.report.plain_text import MOST_CHARACTERS, plain

WORDS = {
    Change.BETTER: "better",
    Change.EQUAL: "equal",
    Change.NOT_WORSE: "not worse",
    Change.UNDECIDED: "undecided",
    Change.WORSE: "worse",
}
MOST_DIFFERENCES = 8


def sentence(verdict: Verdict) -> str:
    """The verdict in words."""
    tolerance, metric = _percent(verdict.tolerance), verdict.metric.value
    if verdict.outcome is Outcome.PASS:
        return f"Pass: no configuration takes more than {tolerance} more {metric} than the base."
    if verdict.outcome is Outcome.WORSE:
        worse = [one for one in verdict.compared if one.change is Change.WORSE]
        most = max(worse, key=lambda one: one.ratio.estimate)
        many = counted(len(worse), "configuration")
        takes = "takes" if len(worse) == 1 else "take"
        told = f"{plain(most.configuration)} takes {_interval(most.ratio)}"
        return f"Worse: {many} {takes} more {metric} than the tolerance of {tolerance}; {told}."
    open_ = sum(one.change is Change.UNDECIDED for one in verdict.compared)
    parts = [f"{counted(open_, 'configuration')} cannot be told yet"] if open_ else []
    if verdict.missing:
        parts.append(f"{counted(len(verdict.missing), 'configuration')} missing on one side")
    return f"Undecided: {' and '.join(parts)}; no configuration is shown to be worse by {tolerance}."


def advice(verdict: Verdict) -> str:
    """What would tell an undecided verdict; empty where it is none."""
    if verdict.outcome is not Outcome.UNDECIDED:
        return ""
    if verdict.missing:
        return "measure what is missing, or write the baseline anew"
    if verdict.paired:
        return "a larger --budget goes on with the same race"
    return (
        "measure more episodes (--budget, or --blocks as the baseline has), raise the tolerance, or measure both "
        "side by side: servewatt compare --base"
    )


def notes(verdict: Verdict) -> list[str]:
    """What is missing, what differs, and what may have deceived the comparison."""
    found = [
        f"missing in {one.lacking}: {plain(one.configuration)}: {plain(one.reason, MOST_CHARACTERS)}"
        for one in verdict.missing
    ]
    told = [d for d in verdict.differences if d.what != "digest"]
    found += [f"{d.part.value} differs: {_difference(d)}" for d in told[:MOST_DIFFERENCES]]
    if len(told) > MOST_DIFFERENCES:
        found.append(f"{len(told) - MOST_DIFFERENCES} more differences are in the JSON")
    if verdict.common_shift is not None:
        found.append(
            f"all configurations moved alike, by about {_change(verdict.common_shift)}: the machine may have changed "
            "rather than what runs on it; servewatt compare --base measures both side by side"
        )
    if any(d.part is Part.MACHINE for d in verdict.differences):
        found.append("the machines differ, and with them everything that is measured")
    return found


def to_text(verdict: Verdict) -> str:
    """For a terminal: the verdict, a line a configuration, and notes."""
    width = max((len(plain(one.configuration)) for one in verdict.compared), default=0)
    lines = [sentence(verdict)]
    if hint := advice(verdict):
        lines.append(f"  to tell: {hint}")
    for one in verdict.compared:
        cost = f"{_cost(one.base, verdict.metric)} -> {_cost(one.head, verdict.metric)}"
        lines.append(f"  {plain(one.configuration):{width}}  {WORDS[one.change]:9}  {_interval(one.ratio)}  ({cost})")
    return "\n".join(lines + [f"  note: {note}" for note in notes(verdict)])


def to_markdown(verdict: Verdict) -> str:
    """For a comment in a pull request."""
    names = f"{_cell(verdict.base)} → {_cell(verdict.head)}"
    lines = [
        f"### servewatt: {verdict.outcome.value}",
        "",
        _cell(sentence(verdict)),
        "",
        f"| configuration | verdict | {verdict.metric.value} | {_percent(verdict.confidence)} interval | base | head |",
        "|---|---|---:|---|---:|---:|",
    ]
    for one in verdict.compared:
        costs = f"{_cost(one.base, verdict.metric)} | {_cost(one.head, verdict.metric)}"
        change = _change(one.ratio.estimate)
        row = f"| {_cell(one.configuration)} | {WORDS[one.change]} | {change} | {_ends(one.ratio)} | {costs} |"
        lines.append(row)
    lines += ["", f"{names}; tolerance {_percent(verdict.tolerance)}."]
    lines += [""] if notes(verdict) else []
    lines += [f"- {_cell(note)}" for note in notes(verdict)]
    return "\n".join(lines) + "\n"


def to_json(verdict: Verdict) -> str:
    """One document with all digits."""
    return wire.document(verdict) + "\n"


def to_junit(verdict: Verdict) -> str:
    """JUnit XML: a test case a configuration. Worse ones failed; undecided and missing ones are errors."""
    cases = [_case(one.configuration, one, verdict) for one in verdict.compared]
    for one in verdict.missing:
        case = ElementTree.Element("testcase", classname="servewatt", name=plain(one.configuration))
        message = f"missing in {one.lacking}: {plain(one.reason, MOST_CHARACTERS)}"
        ElementTree.SubElement(case, "error", message=message, type="missing")
        cases.append(case)
    counts = {tag: str(sum(case.find(tag) is not None for case in cases)) for tag in ("failure", "error")}
    suite = ElementTree.Element(
        "testsuite", name="servewatt", tests=str(len(cases)), failures=counts["failure"], errors=counts["error"]
    )
    suite.extend(cases)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(key: str, one: Compared, verdict: Verdict) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname="servewatt", name=plain(key))
    told = f"{WORDS[one.change]}: {_interval(one.ratio)} {verdict.metric.value}"
    if one.change is Change.WORSE:
        ElementTree.SubElement(case, "failure", message=told, type="worse")
    elif one.change is Change.UNDECIDED:
        ElementTree.SubElement(case, "error", message=told, type="undecided")
    else:
        ElementTree.SubElement(case, "system-out").text = told
    return case


def to_benchmark_json(verdict: Verdict) -> str:
    """What github-action-benchmark reads as `customSmallerIsBetter`: the head's cost of each configuration."""
    rows = []
    for one in verdict.compared:
        row = {"name": plain(one.configuration), "unit": verdict.unit, "value": one.head}
        if one.ratio.low is not None and one.ratio.high is not None:
            share = max(one.ratio.high / one.ratio.estimate - 1, 1 - one.ratio.low / one.ratio.estimate)
            row["range"] = f"± {one.head * share:.3g}"
        row["extra"] = f"{WORDS[one.change]}: {_interval(one.ratio)}\nbase: {one.base:.6g} {verdict.unit}"
        rows.append(row)
    return json.dumps(rows, indent=2) + "\n"


WRITERS = {
    "json_file": to_json,
    "junit": to_junit,
    "markdown": to_markdown,
    "benchmark_json": to_benchmark_json,
}
"""Option of the command line -> form."""


def _interval(ratio: Interval) -> str:
    return f"{_change(ratio.estimate)} [{_ends(ratio)}]"


def _ends(ratio: Interval) -> str:
    if ratio.low is None or ratio.high is None:
        return "no bound yet"
    return f"{_change(ratio.low)} to {_change(ratio.high)}"


def _change(ratio: float) -> str:
    """A ratio as a change in per cent; large ones as a factor."""
    if ratio >= 10 or not math.isfinite(ratio):
        return f"{ratio:.3g} times"
    percent = round(100 * (ratio - 1), 1) + 0.0  # no minus before a zero
    return f"{percent:+.1f} %"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _cost(value: float, metric: Metric) -> str:
    return f"{value * 1e3:.4g} {'mJ' if metric is Metric.ENERGY else 'ms'}/token"


def _difference(difference: Difference) -> str:
    return plain(str(difference), MOST_CHARACTERS)


def _cell(text: str) -> str:
    """Text of others in Markdown: nothing in it may end a cell, or become a tag or a mention."""
    shown = plain(text, 2 * MOST_CHARACTERS)
    for mark in "\\|`*_<>[]@":
        shown = shown.replace(mark, f"\\{mark}" if mark != "@" else "@\u200b")
    return shown
