"""A table as LaTeX: booktabs rules, every character escaped, long tables over several pages."""

from __future__ import annotations

from collections.abc import Sequence

from servewatt.report.plain_text import plain
from servewatt.report.table import Column, ShownRow, Table, letters, shown_rows
from servewatt.report.units import DASH, Quantity

_LONG = 45
"""Rows from which a table needs more than a page."""

_WIDEST = 28
"""Longer texts wrap inside their column."""

_SIZES = ((72, r"\small"), (88, r"\footnotesize"), (110, r"\scriptsize"))
"""Characters that fit into a line of a page -> size of type."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"$\sim$",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",
    DASH: "---",
    "\N{EN DASH}": "--",
    "µ": r"$\mu$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "▸": r"$\triangleright$",
    "≈": r"$\approx$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "∞": r"$\infty$",
    "δ": r"$\delta$",
    "ω": r"$\omega$",
    "²": r"\textsuperscript{2}",
    "·": r"\textperiodcentered{}",
    "…": r"\dots{}",
    "\n": " ",
}


def escape(text: str) -> str:
    """`text` so that LaTeX prints it as it is, with any of its engines."""
    return "".join(_SPECIAL.get(c, c) for c in plain(text))


def to_latex(table: Table) -> str:
    """The table as a LaTeX fragment, to be read in by `\\input`; needs booktabs, and longtable where it is long."""
    long = len(table.rows) >= _LONG
    rows = shown_rows(table)
    size = _size(table, rows)
    lines = [f"% {table.name}: needs \\usepackage{{{'booktabs,longtable' if long else 'booktabs'}}}"]
    body, heads, layout = _body(table, rows), _heads(table.columns), _layout(table.columns, rows)
    title = " · ".join([table.title, *table.told])
    caption = f"\\caption{{{escape(title)}}}\\label{{tab:{table.name}}}"
    if long:
        lines += [f"{{{size}\\setlength{{\\tabcolsep}}{{3pt}}", f"\\begin{{longtable}}{{{layout}}}", caption + r" \\"]
        lines += [r"\toprule", *heads, r"\midrule", r"\endfirsthead", r"\toprule", *heads, r"\midrule", r"\endhead"]
        lines += [r"\bottomrule", r"\endfoot", *body, r"\end{longtable}", *_notes(table), "}"]
    else:
        lines += [r"\begin{table}", f"\\centering{size}\\setlength{{\\tabcolsep}}{{3pt}}", caption]
        lines += [f"\\begin{{tabular}}{{{layout}}}", r"\toprule", *heads, r"\midrule", *body, r"\bottomrule"]
        lines += [r"\end{tabular}", *_notes(table), r"\end{table}"]
    return "\n".join(lines) + "\n"


def _size(table: Table, rows: Sequence[ShownRow]) -> str:
    """The size of type in which the table fits the width of a page, by its number of characters."""
    characters = 0
    for index, column in enumerate(table.columns):
        texts = [f"{row.texts[index].estimate} {row.texts[index].interval}" for row in rows]
        characters += 2 + min(max(map(len, [column.title, column.scale.unit, *texts])), _WIDEST)
    return next((size for most, size in _SIZES if characters <= most), r"\tiny")


def _layout(columns: Sequence[Column], rows: Sequence[ShownRow]) -> str:
    """An interval is a column of its own, flush left, so that the estimates before it line up; long texts wrap."""
    parts = []
    for index, column in enumerate(columns):
        longest = max((len(row.texts[index].estimate) for row in rows), default=0)
        if column.bounds:
            parts.append("r@{\\ }l")
        elif column.numeric:
            parts.append("r")
        else:
            parts.append(r"p{0.24\linewidth}" if longest > _WIDEST else "l")
    return "".join(parts)


def _heads(columns: Sequence[Column]) -> list[str]:
    """Titles, and their units in a line beneath."""
    lines = [[c.title for c in columns]]
    if any(c.scale.unit for c in columns):
        lines.append([f"({c.scale.unit})" if c.scale.unit else "" for c in columns])
    return [" & ".join(map(_head, columns, texts)) + r" \\" for texts in lines]


def _head(column: Column, text: str) -> str:
    return f"\\multicolumn{{2}}{{c}}{{{escape(text)}}}" if column.bounds else escape(text)


def _body(table: Table, rows: Sequence[ShownRow]) -> list[str]:
    lines = []
    for shown, row in zip(rows, table.rows, strict=True):
        if shown.begins:
            lines.append(r"\addlinespace")
        cells = []
        for index, (column, text, entry) in enumerate(zip(table.columns, shown.texts, row, strict=True)):
            blank = index < shown.same
            cells.append("" if blank else _cell(column, text, ",".join(table.references(entry))))
        lines.append(" & ".join(cells) + r" \\")
    return lines


def _cell(column: Column, text: Quantity, references: str) -> str:
    mark = f"\\textsuperscript{{{references}}}" if references else ""
    shown = escape(text.estimate) + mark
    return f"{shown} & {escape(text.interval)}" if column.bounds else shown


def _notes(table: Table) -> list[str]:
    notes = [escape(n) for n in table.notes]
    notes += [f"\\textsuperscript{{{letters(i)}}}~{escape(n)}" for i, n in enumerate(table.footnotes)]
    if not notes:
        return []
    lines = [note if note.endswith((".", "!", "?")) else f"{note}." for note in notes]
    return [r"\par\smallskip", r"{\footnotesize\raggedright", *(f"{line}\\par" for line in lines), "}"]
