"""What a model's configurations are worth, as text: columns beside their energy, and a table of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servewatt.errors import counted
from servewatt.quality import Agreement, Assessment, Quality, says_alike
from servewatt.records import Configuration, Interval, Status, Weights
from servewatt.report import units
from servewatt.report.units import DASH, Quantity
from servewatt.report.view import shared_parts, short_labels
from servewatt.stats.records import Analysis

if TYPE_CHECKING:
    from rich.console import Console

RANDOM = "weights: random"
"""Why a model with random weights has no perplexity."""


@dataclass(frozen=True)
class QualityColumn:
    """A column of the ranking."""

    head: str
    below: str
    """The second line of its head."""
    cells: tuple[Quantity, ...]
    """One a configuration, in the order of the ranking."""


def quality_columns(analysis: Analysis) -> tuple[QualityColumn, ...]:
    """Perplexity ratio and tests passed, where anything is known of them; without a ratio, agreement instead."""
    quality = analysis.quality
    if quality is None:
        return ()
    found = [quality.of(s.configuration) for s in analysis.summaries]
    known = [a for a in found if a is not None]
    columns = []
    if any(a.perplexity is not None and a.perplexity.ratio is not None for a in known):
        columns.append(_column("perplexity", "ratio", found, lambda a: _ratio(a, quality)))
    elif any(a.agreement is not None for a in known):
        columns.append(_column("same", "beginning", found, _beginning))
    if any(a.pass_rate is not None for a in known):
        # The first column already tells of those that did not answer.
        cells = (a if a is not None and a.status is Status.OK else None for a in found)
        columns.append(_column("passed", "tests", tuple(cells), _passed))
    return tuple(columns)


def quality_notes(analysis: Analysis) -> tuple[str, ...]:
    """What the columns are, and why some configurations have no quality."""
    quality = analysis.quality
    columns = quality_columns(analysis)
    if quality is None or not columns:
        return ()
    reference = quality.reference.key
    explained = {
        "perplexity": f"Perplexity ratio: to {reference}, {_text_of(quality)}, 95 % intervals over the files",
        "same": f"Same beginning: the share of an output before it first differs from that of {reference}",
        "passed": "Passed: problems whose tests the greedy answer passes",
    }
    notes = [explained[column.head] for column in columns]
    for summary in analysis.summaries:
        found = quality.of(summary.configuration)
        if found is not None and found.status is not Status.OK:
            notes.append(f"Quality of {summary.configuration.key}: {_status(found)}: {found.reason}")
    return tuple(notes)


def quality_sentence(quality: Quality, configuration: Configuration) -> str:
    """What is known of one configuration's outputs, in one line; empty for nothing."""
    found = quality.of(configuration)
    if found is None or found.status is not Status.OK or says_alike(configuration, quality.reference):
        return ""
    parts = []
    if found.perplexity is not None and found.perplexity.ratio is not None:
        ratio = _ratio(found, quality)
        parts.append(f"perplexity ratio {ratio.estimate} {ratio.interval}".rstrip())
    if found.agreement is not None:
        parts.append(f"same beginning {units.percent(found.agreement.leading_share)}")
    if found.pass_rate is not None:
        parts.append(f"{_passed(found).estimate} tests passed")
    return f"{', '.join(parts)}; beside {quality.reference.key}" if parts else ""


def render_quality(console: Console, quality: Quality) -> None:
    """Everything `servewatt quality` found, as a table with notes."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    random = f" ({RANDOM})" if quality.model.weights is Weights.RANDOM else ""
    title = f"Quality of {escape(quality.model.name)}{random}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    tested = any(a.pass_rate for a in quality.assessments)
    labels = short_labels([a.configuration for a in quality.assessments])
    table.add_column("configuration", overflow="fold")
    heads = ["same\noutput", "same\nbeginning", "first\ndiffers", "perplexity\nratio", "bits/\nbyte"]
    for head in heads + ["passed"] * tested:
        table.add_column(head, justify="right", no_wrap=True)
    for assessment in quality.assessments:
        cells = _all_cells(assessment, quality)
        table.add_row(escape(labels[assessment.configuration.key]), *(cells if tested else cells[:-1]))
    console.print(table)
    for line in _all_notes(quality):
        console.print(line, markup=False, soft_wrap=True)


def _column(
    head: str, below: str, found: Sequence[Assessment | None], cell: Callable[[Assessment], Quantity]
) -> QualityColumn:
    def shown(assessment: Assessment | None) -> Quantity:
        if assessment is None:
            return Quantity(DASH)
        return cell(assessment) if assessment.status is Status.OK else Quantity(_status(assessment))

    return QualityColumn(head, below, tuple(map(shown, found)))


def _ratio(assessment: Assessment, quality: Quality) -> Quantity:
    """Four digits after the point, so that it compares with the limit that is given to `recommend`."""
    if says_alike(assessment.configuration, quality.reference):
        return Quantity("1", "(reference)", 1.0)
    ratio = assessment.perplexity.ratio if assessment.perplexity is not None else None
    if ratio is None:
        return Quantity(DASH)
    return Quantity(f"{ratio.estimate:.4f}", _bounds(ratio), ratio.estimate)


def _bounds(ratio: Interval) -> str:
    return "" if ratio.low is None or ratio.high is None else f"[{ratio.low:.4f}, {ratio.high:.4f}]"


def _beginning(assessment: Assessment) -> Quantity:
    same = assessment.agreement
    return Quantity(DASH) if same is None else Quantity(units.percent(same.leading_share), value=same.leading_share)


def _passed(assessment: Assessment) -> Quantity:
    rate = assessment.pass_rate
    return Quantity(DASH) if rate is None else Quantity(f"{_whole(rate)}/{rate.n}", value=rate.estimate)


def _whole(rate: Interval) -> int:
    return round(rate.estimate * rate.n)


def _status(assessment: Assessment) -> str:
    return assessment.status.value.replace("_", " ")


def _all_cells(assessment: Assessment, quality: Quality) -> list[str]:
    if assessment.status is not Status.OK:
        return [_status(assessment), "", "", "", "", ""]
    same, scored, rate = assessment.agreement, assessment.perplexity, assessment.pass_rate
    ratio = _ratio(assessment, quality)
    return [
        units.percent(same.equal_share) if same else "",
        units.percent(same.leading_share) if same else "",
        _first(same),
        f"{ratio.estimate}\n{ratio.interval}".rstrip() if scored and scored.ratio else "",
        f"{scored.bits_per_byte:.4f}" if scored and scored.bits_per_byte is not None else "",
        f"{_whole(rate)} of {rate.n}" if rate else "",
    ]


def _first(same: Agreement | None) -> str:
    """The token at which half of the differing outputs have differed."""
    if same is None:
        return ""
    return "never" if same.first_difference is None else f"at {same.first_difference + 1:g}"


def _text_of(quality: Quality) -> str:
    text = quality.held_out
    return (
        ""
        if text is None
        else f"{counted(len(text.documents), 'file')} of {text.source}, {counted(text.tokens, 'token')} each"
    )


def _all_notes(quality: Quality) -> list[str]:
    """What a reader must know beside the table."""
    length = counted(quality.new_tokens, "new token")
    lines = [f"Reference: {quality.reference.key}. Greedy, {quality.workload}, {length}."]
    text = quality.held_out
    if text is not None:
        lines.append(f"Text: {_text_of(quality)}, seed {text.seed}, sha256 {text.digest[:12]}.")
    if shared := shared_parts([a.configuration for a in quality.assessments]):
        lines.append(f"All configurations: {shared}.")
    for assessment in quality.assessments:
        key = assessment.configuration.key
        if assessment.status is not Status.OK:
            lines.append(f"{key}: {assessment.reason}" + (f" ({assessment.hint})" if assessment.hint else ""))
        elif assessment.no_perplexity and assessment.no_perplexity != RANDOM:
            lines.append(f"{key}: no perplexity: {assessment.no_perplexity}")
    if quality.model.weights is Weights.RANDOM:
        lines.append(f"No perplexity ({RANDOM}): agreement tells how alike the engines compute, not how good they are.")
    return lines
