"""A table as HTML; its look is in `templates/report.css`."""

from __future__ import annotations

from html import escape

from servewatt.records import Grade
from servewatt.report import units
from servewatt.report.page_templates import templates
from servewatt.report.plain_text import cleaned
from servewatt.report.table import Column, Entry, Mark, Table, letters, shown_rows
from servewatt.report.units import Quantity
from servewatt.stats.records import Interval

_LONG = 60
"""Characters from which a text may go over several lines."""


def to_html(table: Table, sortable: bool = False, look: str = "study") -> str:
    """The table as an HTML fragment: the table, then its notes. `look` is a class of `report.css`."""
    table = cleaned(table)
    heads = "".join(_head(c, sortable) for c in table.columns)
    told = "".join(f' <span class="told">· {_told(part)}</span>' for part in table.told)
    lines = [
        f'<div class="scroll" role="region" aria-label="{escape(table.title)}" tabindex="0">',
        f'<table class="{look}{" sortable" if sortable else ""}" data-name="{escape(table.name)}">',
        f'<caption><span class="cap">{escape(table.title)}{told}</span></caption>',
        f"<thead><tr>{heads}</tr></thead>",
        "<tbody>",
    ]
    named = _named(table)
    most = {index: _most(table.column(c.name)) for index, c in enumerate(table.columns) if c.drawn}
    for place, (shown, row) in enumerate(zip(shown_rows(table, short=True), table.rows, strict=True)):
        mark = table.mark(place)
        cells = []
        for index, (column, text, entry) in enumerate(zip(table.columns, shown.texts, row, strict=True)):
            classes = ["num"] if column.numeric else []
            classes += ["same"] if index < shown.same else []
            classes += ["estimate"] if entry.grade is Grade.ESTIMATED and not column.numeric else []
            classes += ["long"] if not column.numeric and len(text.estimate) > _LONG else []
            kind = f' class="{" ".join(classes)}"' if classes else ""
            tag, scope = ("th", ' scope="row"') if index in named else ("td", "")
            inner = _cell(text, ",".join(table.references(entry)))
            if mark.symbol and index == max(named, default=-1):
                inner += f' <span class="mark">{mark.symbol}&nbsp;{mark.value}</span>'
            if column.drawn:
                cells.append(_drawn(entry, text, most[index]))
            cells.append(f"<{tag}{scope}{kind}{_hint(entry)}{_sort_key(entry, sortable)}>{inner}</{tag}>")
        lines.append(f"<tr{_row_class(mark, shown.begins)}>{''.join(cells)}</tr>")
    lines += ["</tbody>", "</table>", "</div>", *_notes(table)]
    return "\n".join(lines) + "\n"


def html_pairs(table: Table) -> str:
    """A table of two columns, a name and what is said of it, as a list of definitions."""
    pairs = (row.texts[:2] for row in shown_rows(cleaned(table)))
    items = (f"<div><dt>{escape(a.estimate)}</dt><dd>{escape(b.estimate)}</dd></div>" for a, b in pairs)
    return f'<dl class="notes">{"".join(items)}</dl>\n'


def to_page(table: Table) -> str:
    """The table as one HTML document."""
    return templates().get_template("table.html.j2").render(title=table.title, body=to_html(table))


def _named(table: Table) -> frozenset[int]:
    """The columns whose cells are heads of their rows: the names, up to where values begin."""
    texts = [i for i, column in enumerate(table.columns) if not column.numeric]
    if not texts:
        return frozenset({0}) if table.columns else frozenset()
    first = texts[0]
    return frozenset(range(first, max(first + 1, table.grouped)))


def _row_class(mark: Mark, begins: bool) -> str:
    classes = [mark.name.lower().replace("_", "-")] if mark is not Mark.NONE else []
    classes += ["begins"] if begins else []
    return f' class="{" ".join(classes)}"' if classes else ""


def _told(part: str) -> str:
    shown = escape(part)
    return f"<b>{shown}</b>" if part.startswith(("weights: random", "~")) else shown


def _head(column: Column, sortable: bool) -> str:
    unit = f"<small>{escape(column.scale.unit)}</small>" if column.scale.unit else ""
    text = escape(column.title) + unit
    inner = f'<button type="button">{text}</button>' if sortable else text
    kind = ' class="num"' if column.numeric else ""
    drawing = '<th scope="col" class="micro"><span class="sr">Interval, drawn</span></th>' if column.drawn else ""
    return f'{drawing}<th scope="col"{kind}>{inner}</th>'


def _cell(text: Quantity, references: str) -> str:
    mark = f'<sup class="ref">{references}</sup>' if references else ""
    interval = f' <span class="i">{escape(text.interval)}</span>' if text.interval else ""
    return f'<span class="n">{escape(text.estimate)}</span>{mark}{interval}'


def _hint(entry: Entry) -> str:
    said = entry.detail or (entry.value if entry.short and isinstance(entry.value, str) else "")
    return f' title="{escape(said)}"' if said else ""


def _sort_key(entry: Entry, sortable: bool) -> str:
    if not sortable:
        return ""
    value = entry.value if isinstance(entry.value, str) else entry.number
    if value is None and entry.text is not None:
        value = entry.text.value
    return f' data-sort="{"" if value is None else escape(str(value))}"'


def _most(entries: tuple[Entry, ...]) -> float:
    """The right end of the scale on which a column's intervals are drawn."""
    known = [e.value for e in entries if isinstance(e.value, Interval)]
    return max((max(i.estimate, *(units.drawn_bounds(i) or (i.estimate,))) for i in known), default=0.0)


def _drawn(entry: Entry, text: Quantity, most: float) -> str:
    """An interval as a line with a tick, in hundredths of the cell's width."""
    interval = entry.value
    if not isinstance(interval, Interval) or not 0 < most < float("inf"):
        return '<td class="micro"></td>'
    low, high = units.drawn_bounds(interval) or (interval.estimate, interval.estimate)
    left, at, right = (round(2 + 96 * min(max(v, 0.0), most) / most, 2) for v in (low, interval.estimate, high))
    said = escape(f"{text.estimate} {text.interval}".strip())
    return (
        f'<td class="micro"><svg viewBox="0 0 100 12" preserveAspectRatio="none" role="img" aria-label="{said}">'
        '<line x1="0" x2="100" y1="6" y2="6" class="axis"/>'
        f'<line x1="{left}" x2="{right}" y1="6" y2="6" class="whisker"/>'
        f'<line x1="{at}" x2="{at}" y1="1" y2="11" class="at"/></svg></td>'
    )


def _notes(table: Table) -> list[str]:
    lines = [f'<p class="quiet small">{escape(note)}</p>' for note in table.notes]
    if table.footnotes:
        items = "".join(f"<li><sup>{letters(i)}</sup> {escape(n)}</li>" for i, n in enumerate(table.footnotes))
        lines.append(f'<ul class="footnotes small">{items}</ul>')
    return lines
