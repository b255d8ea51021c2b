"""Quality of a model's configurations: columns beside their energy, and a table of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from servewatt.errors import counted
from servewatt.quality import RANDOM, Assessment, Quality, says_alike
from servewatt.records import Configuration, Interval, Status, Weights
from servewatt.report import units
from servewatt.report.plain_text import plain
from servewatt.report.table import Column, Entry, Form, Table
from servewatt.report.units import DASH, PERCENT, Quantity
from servewatt.report.view import shared_parts, short_labels
from servewatt.stats.records import Analysis

if TYPE_CHECKING:
    from rich.console import Console


EQUAL = Column("equal_share", "same output", Form.PERCENT, PERCENT, short="same")
BEGINNING = Column("leading_share", "same beginning", Form.PERCENT, PERCENT)
FIRST = Column("first_difference", "first differs", Form.COUNT)
RATIO = Column("perplexity_ratio", "perplexity ratio", Form.QUANTITY, bounds=True, short="perpl. ratio", spare=True)
BITS = Column("bits_per_byte", "bits/byte", Form.QUANTITY)
PASSED = Column("pass_rate", "passed tests", Form.QUANTITY, short="passed")

_Found = Sequence[Assessment | None]


def quality_columns(analysis: Analysis) -> tuple[tuple[Column, tuple[Entry, ...]], ...]:
    """Perplexity ratio and tests passed, where anything is known of them; without a ratio, agreement instead.

    Each column with its entries in the order of the ranking.
    """
    quality = analysis.quality
    if quality is None:
        return ()
    found = [quality.of(s.configuration) for s in analysis.summaries]
    known = [a for a in found if a is not None]
    columns = []
    if any(a.perplexity is not None and a.perplexity.ratio is not None for a in known):
        columns.append((RATIO, _entries(found, lambda a: _ratio(a, quality))))
    elif any(a.agreement is not None for a in known):
        columns.append((BEGINNING, _entries(found, _beginning)))
    if any(a.pass_rate is not None for a in known):
        # The first column already tells of those that did not answer.
        answered = [a if a is not None and a.status is Status.OK else None for a in found]
        columns.append((PASSED, _entries(answered, _passed)))
    return tuple(columns)


def quality_notes(analysis: Analysis) -> tuple[str, ...]:
    """What the columns are, and why some configurations have no quality."""
    quality = analysis.quality
    columns = quality_columns(analysis)
    if quality is None or not columns:
        return ()
    reference = quality.reference.key
    explained = {
        RATIO: f"Perplexity ratio: to {reference}, {_text_of(quality)}, 95 % intervals over the files",
        BEGINNING: f"Same beginning: the share of an output before it first differs from that of {reference}",
        PASSED: "Passed: problems whose tests the greedy answer passes",
    }
    notes = [explained[column] for column, _ in columns]
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
        ratio = _shown_ratio(found.perplexity.ratio)
        parts.append(f"perplexity ratio {ratio.estimate} {ratio.interval}".rstrip())
    if found.agreement is not None:
        parts.append(f"same beginning {units.percent(found.agreement.leading_share)}")
    if found.pass_rate is not None:
        parts.append(f"{_of(found.pass_rate)} tests passed")
    return f"{', '.join(parts)}; beside {quality.reference.key}" if parts else ""


def quality_table(quality: Quality) -> Table:
    """Everything `servewatt quality` found."""
    labels = short_labels([a.configuration for a in quality.assessments])
    # How one ended stands in the first column of values.
    columns = (
        (EQUAL, [_ended(a) or _share(a.agreement.equal_share if a.agreement else None) for a in quality.assessments]),
        (BEGINNING, _where_ok(quality, lambda a: _share(a.agreement.leading_share if a.agreement else None))),
        (FIRST, _where_ok(quality, _first)),
        (RATIO, _where_ok(quality, lambda a: _ratio(a, quality))),
        (BITS, _where_ok(quality, _bits)),
        (PASSED, _where_ok(quality, _passed)),
    )
    tested = any(a.pass_rate for a in quality.assessments)
    kept = columns if tested else columns[:-1]
    names = [Entry(a.configuration.key, short=labels[a.configuration.key]) for a in quality.assessments]
    random = f" ({RANDOM})" if quality.model.weights is Weights.RANDOM else ""
    return Table(
        "quality",
        f"Quality of {quality.model.name}{random}",
        (Column("configuration", "configuration"), *(column for column, _ in kept)),
        tuple(zip(names, *(entries for _, entries in kept), strict=True)),
        notes=_all_notes(quality),
        grouped=0,
    )


def _entries(found: _Found, entry: Callable[[Assessment], Entry]) -> tuple[Entry, ...]:
    return tuple(Entry() if a is None else _ended(a) or entry(a) for a in found)


def _where_ok(quality: Quality, entry: Callable[[Assessment], Entry]) -> list[Entry]:
    return [entry(a) if a.status is Status.OK else Entry("") for a in quality.assessments]


def _ended(assessment: Assessment) -> Entry | None:
    return None if assessment.status is Status.OK else Entry(text=Quantity(_status(assessment)))


def _ratio(assessment: Assessment, quality: Quality) -> Entry:
    """Four digits after the point, so that it compares with the limit that is given to `recommend`."""
    ratio = assessment.perplexity.ratio if assessment.perplexity is not None else None
    if says_alike(assessment.configuration, quality.reference):
        return Entry(ratio, text=Quantity("1", "(reference)", 1.0))
    return Entry() if ratio is None else Entry(ratio, text=_shown_ratio(ratio))


def _shown_ratio(ratio: Interval) -> Quantity:
    known = ratio.low is not None and ratio.high is not None
    return Quantity(f"{ratio.estimate:.4f}", f"[{ratio.low:.4f}, {ratio.high:.4f}]" if known else "", ratio.estimate)


def _beginning(assessment: Assessment) -> Entry:
    return _share(None if assessment.agreement is None else assessment.agreement.leading_share)


def _share(share: float | None) -> Entry:
    return Entry(share, text=Quantity(units.percent(share).removesuffix(" %"), value=share))


def _passed(assessment: Assessment) -> Entry:
    rate = assessment.pass_rate
    return Entry() if rate is None else Entry(rate.estimate, text=Quantity(_of(rate), value=rate.estimate))


def _of(rate: Interval) -> str:
    return f"{round(rate.estimate * rate.n)}/{rate.n}"


def _bits(assessment: Assessment) -> Entry:
    bits = assessment.perplexity.bits_per_byte if assessment.perplexity is not None else None
    return Entry(bits, text=Quantity(DASH if bits is None else f"{bits:.4f}", value=bits))


def _first(assessment: Assessment) -> Entry:
    """The token at which half of the differing outputs have differed."""
    same = assessment.agreement
    if same is None:
        return Entry()
    if same.first_difference is None:
        return Entry("never")
    return Entry(same.first_difference + 1, text=Quantity(f"at {same.first_difference + 1:g}"))


def _status(assessment: Assessment) -> str:
    return assessment.status.value.replace("_", " ")


def _text_of(quality: Quality) -> str:
    text = quality.held_out
    if text is None:
        return ""
    return f"{counted(len(text.documents), 'file')} of {text.source}, {counted(text.tokens, 'token')} each"


def _all_notes(quality: Quality) -> tuple[str, ...]:
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
    return tuple(lines)


def render_quality(console: Console, quality: Quality) -> None:
    """Print everything `servewatt quality` found."""
    from servewatt.report.table_forms import renderable

    table = quality_table(quality)
    console.print(renderable(replace(table, notes=()), console.width, short=True))
    for note in table.notes:
        console.print(plain(note), markup=False, soft_wrap=True)
