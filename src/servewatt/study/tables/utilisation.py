"""The utilisation table, from our summaries or from what could be recovered of the published study."""

from __future__ import annotations

from servewatt.report.table import Column, Entry, Form, Row, Table
from servewatt.report.units import Scale
from servewatt.study.published import medians as published
from servewatt.study.tables import measurements as study_tables
from servewatt.study.view import StudyView

_GB = Scale("GB", 1e9)
_WATT = Scale("W", 1.0)
_PERCENT = Scale("%", 1.0)


def utilisation_table(view: StudyView) -> Table:
    """Utilisation of CPU, memory and GPU of every model in every configuration."""
    return _published_table() if view.is_published else study_tables.utilisation_table(view)


def _published_table() -> Table:
    quantities = (
        ("cpu_percent", "CPU usage", _PERCENT),
        ("ram_bytes", "RAM", _GB),
        ("gpu_percent", "GPU usage", _PERCENT),
        ("gpu_memory_bytes", "GPU memory", _GB),
        ("gpu_power_w", "GPU power", _WATT),
        ("wall_power_w", "wall power", _WATT),
    )
    columns = (
        Column("model", "model"),
        Column("configuration", "configuration"),
        Column("campaign", "campaign"),
        *(Column(name, title, Form.QUANTITY, scale) for name, title, scale in quantities),
    )
    order = {m.name: i for i, m in enumerate(published.models())}
    rows: list[Row] = []
    for one in sorted(published.utilisation(), key=lambda u: order.get(u.model, len(order))):
        values = [getattr(one, name) for name, _, _ in quantities]
        note = (one.note,) if one.note else ()
        head = (
            Entry(one.model or f"idle machine ({one.provider.value.upper()} campaign)"),
            Entry(one.configuration or "none"),
        )
        rows.append((*head, Entry(one.campaign, notes=note), *(Entry(v) for v in values)))
    notes = (
        f"Published: {published.CITATION}; {published.HARDWARE}",
        "Means over one pass; CPU usage and RAM are of the whole machine, where 100 % is every CPU",
        "Rows and values that are not here could not be recovered from the published data",
    )
    return Table("utilisation", "Utilisation of resources by model and configuration", columns, tuple(rows), notes)
