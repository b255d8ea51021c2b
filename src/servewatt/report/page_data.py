"""What the page's scripts work with: configurations, what is known of each pair, and every table as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from servewatt.recommendation.records import Recommendation
from servewatt.report import units
from servewatt.report.table import Table, shown_rows
from servewatt.report.table_forms import to_csv
from servewatt.report.units import Scale
from servewatt.report.view import short_labels
from servewatt.stats.race.history import pair_widths
from servewatt.stats.records import Analysis, ConfigurationSummary, Interval

MOST_CSV_ROWS = 2000
"""Longer tables are left to `servewatt report --csv`: the page would double in size."""
MOST_PAIRED = 60
"""Configurations whose pairs the page holds: their number grows with its square."""


def page_data(analysis: Analysis, recommendation: Recommendation, ranked: Table, tables: Iterable[Table]) -> str:
    """JSON for a `<script type="application/json">`; numbers in SI base units beside the unit that people read.

    `ranked` is the ranking as the page shows it: its rows are the configurations, its columns what two of them are
    compared by. Configurations that the recommendation excludes are never chosen.
    """
    summaries = analysis.summaries
    out = {e.configuration for e in recommendation.exclusions}
    paired = [s.configuration.key for s in summaries if s.has_energy and s.configuration not in out][:MOST_PAIRED]
    pairs = pair_widths(analysis.all_costs.of(paired), paired, confidence=analysis.confidence)
    labels = short_labels([s.configuration for s in summaries])
    energy = units.si(_estimates(summaries, "energy_j_per_token"), "J")
    latency = units.seconds(_estimates(summaries, "request_p95_s"))
    data = {
        "choice": recommendation.choice.key if recommendation.choice is not None else None,
        "promise": recommendation.promise,
        # Differences of log costs below this are the bench's own.
        "floor": analysis.all_costs.least_claim,
        "units": {"energy": _unit(energy, "/token"), "latency": _unit(latency)},
        "columns": [
            f"{c.title} ({c.scale.unit})" if c.scale.unit else c.title for c in ranked.columns if c.name not in _OWN
        ],
        "configurations": [
            {
                "key": summary.configuration.key,
                "label": labels[summary.configuration.key],
                "able": summary.configuration.key in paired,
                "energy": _bounds(summary.energy_j_per_token),
                "latency": _bounds(summary.request_p95_s),
                "cells": cells,
            }
            for summary, cells in zip(summaries, _cells(ranked), strict=True)
        ],
        "pairs": [[p.first, p.second, p.difference, p.half_width, p.upper_width] for p in pairs],
        "tables": {t.name: to_csv(t) for t in tables if 0 < len(t.rows) <= MOST_CSV_ROWS},
    }
    # A closing tag inside a string would end the script.
    return json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


_OWN = frozenset({"place", "configuration"})
"""Columns of the ranking that stand in the head of a comparison."""


def _cells(ranked: Table) -> list[list[str]]:
    kept = [i for i, column in enumerate(ranked.columns) if column.name not in _OWN]
    return [[f"{row.texts[i].estimate} {row.texts[i].interval}".strip() for i in kept] for row in shown_rows(ranked)]


def _estimates(summaries: Sequence[ConfigurationSummary], name: str) -> list[float]:
    found = [getattr(s, name) for s in summaries]
    return [i.estimate for i in found if i is not None]


def _bounds(interval: Interval | None) -> list[float | None] | None:
    """[estimate, low, high]; None where it was not measured."""
    return None if interval is None else [interval.estimate, interval.low, interval.high]


def _unit(scale: Scale, suffix: str = "") -> dict[str, Any]:
    return {"name": scale.unit + suffix, "divisor": scale.divisor}
