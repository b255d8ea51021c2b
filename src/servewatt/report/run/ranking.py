"""The configurations in order: the ranking, comparisons with the best, and everything measured of each."""

from __future__ import annotations

from servewatt.quality import Assessment
from servewatt.records import Grade
from servewatt.report import units
from servewatt.report.run.cells import CONFIGURATION, names, told
from servewatt.report.run.limits import limit_columns
from servewatt.report.run.measures import PAIR, Filled, has_gpu, interval_columns, pace_column, resource_columns
from servewatt.report.run.quality import BITS, EQUAL, quality_columns
from servewatt.report.table import Column, Entry, Form, Row, Table
from servewatt.report.units import PERCENT, Quantity
from servewatt.report.view import Row as Ranked
from servewatt.report.view import View, comparison_for, verdict_text
from servewatt.stats.records import Analysis, ConfigurationSummary

_PLACE = Column("place", "#", Form.COUNT)
_GRADE = Column("energy_grade", "joules are", unbroken=True)
_SAVING = Column("saving", "#1 saves", Form.QUANTITY, PERCENT, bounds=True, spare=True)
_QUALITY = ("perplexity_ratio", "leading_share", "pass_rate")
_TIME = ("tokens_per_s", "ttft_s", PAIR, "request_p95_s")
_GPU = ("peak_gpu_bytes", "gpu_percent")
_RESOURCES = (*_TIME, "peak_rss_bytes", "peak_gpu_bytes", "cpu_percent", "gpu_percent", "trials", "output_agreement")
_DETAILS = (
    "configuration",
    "active_j_per_token",
    "energy_j_per_request",
    "energy_error_share",
    "idle_power_w",
    "load_energy_j",
    "load_s",
    "ttft_p95_s",
    "inter_token_p99_s",
    "request_p50_s",
)
_LIMITS = (
    "weight_bytes_per_step",
    "cache_bytes_per_step",
    "bytes_per_token",
    "decode_flops_per_token",
    "prefill_flops_per_prompt",
    "bandwidth_bytes_s",
    "floor_s_per_token",
    "bound_by",
    "decode_s_per_token",
    "times_floor",
    "bandwidth_share",
)
_QUALITY_CSV = (
    Column("quality_status", "quality"),
    EQUAL,
    Column("leading_share", "same beginning"),
    Column("perplexity_ratio", "perplexity ratio", Form.QUANTITY, bounds=True),
    BITS,
    Column("pass_rate", "passed tests"),
)


def ranking_table(shown: View, analysis: Analysis) -> Table:
    """The ranking by energy per generated token, with time, resources and quality."""
    wanted = ("place", "configuration", "energy_j_per_token", "energy_grade", "saving", *_QUALITY)
    return _ranked(shown, analysis).selected((*wanted, *_without_gpu(shown, _RESOURCES)))


def energy_table(shown: View, analysis: Analysis) -> Table:
    """The part of the ranking that tells of energy and quality."""
    wanted = ("place", "configuration", "energy_j_per_token", "saving", *_QUALITY, "energy_grade")
    return _ranked(shown, analysis).selected(wanted, name="energy")


def resource_table(shown: View, analysis: Analysis) -> Table:
    """The part of the ranking that tells of time, memory and utilisation."""
    wanted = ("place", "configuration", *_without_gpu(shown, _RESOURCES))
    return _ranked(shown, analysis).selected(wanted, name="resources", title="Time and resources")


def detail_table(analysis: Analysis) -> Table:
    """Further measures of each configuration."""
    named = names(analysis)
    filled = (*interval_columns(analysis.summaries), *resource_columns(analysis.summaries))
    rows = _rows([named[s.configuration.key] for s in analysis.summaries], filled)
    table = Table(
        "details", "More measures", (CONFIGURATION, *(c for c, _ in filled)), rows, grouped=0, told=told(analysis)
    )
    return table.selected(_DETAILS)


def boundary_table(shown: View, most: int | None = None) -> Table:
    """The order inside each boundary, side by side; of at most so many places."""
    labels = {r.key: r.label for r in shown.rows}
    length = max((len(r.keys) for r in shown.rankings), default=0)
    kept = length if most is None else min(length, most)
    columns = (_PLACE, *(Column(r.boundary.value, r.boundary.value) for r in shown.rankings))
    rows: list[Row] = []
    for place in range(kept):
        keys = (r.keys[place] if place < len(r.keys) else "" for r in shown.rankings)
        rows.append((Entry(place + 1), *(Entry(key, short=labels.get(key, key)) for key in keys)))
    notes = (f"… and {length - kept} more",) if length > kept else ()
    return Table("boundaries", "The order depends on the boundary", columns, tuple(rows), notes=notes, grouped=0)


def comparison_table(analysis: Analysis) -> Table:
    """The best against each other configuration, in the order of the ranking."""
    named = names(analysis)
    rows = []
    for summary in analysis.summaries:
        found = comparison_for(analysis, summary.configuration)
        if found is not None:
            rows.append(
                (
                    named.get(found.second.key, Entry(found.second.key)),
                    Entry(found.ratio, text=units.compared(found.ratio)),
                    Entry(units.saving(found.ratio), text=units.saved(found.ratio)),
                    Entry(found.ratio.n),
                    Entry(verdict_text(found)),
                )
            )
    columns = (
        Column("configuration", "against"),
        Column("best_over_this", "ratio", Form.QUANTITY, bounds=True, ratio=True),
        Column("saving", "saves", Form.QUANTITY, PERCENT, bounds=True),
        Column("blocks", "blocks", Form.COUNT),
        Column("verdict", "the first"),
    )
    best = analysis.comparisons[0].first.key if analysis.comparisons else "the best"
    title = (
        f"{best} against each other configuration: energy per token, paired by block, "
        f"{units.percent(analysis.confidence)} intervals valid at every look and corrected for the number "
        "of comparisons"
    )
    return Table("comparisons", title, columns, tuple(rows), grouped=0, told=told(analysis))


def configuration_table(analysis: Analysis) -> Table:
    """Everything measured of each configuration, in the order of the ranking, for other programs."""
    summaries = analysis.summaries
    run, model = analysis.run.id, analysis.run.plan.model
    ranks, rank = [], 0
    for summary in summaries:
        rank += summary.has_energy
        ranks.append(Entry(rank if summary.has_energy else None))
    comparisons = [comparison_for(analysis, s.configuration) for s in summaries]
    measures = (*interval_columns(summaries), *resource_columns(summaries))
    filled = {column.name: (column, entries) for column, entries in measures}
    before = (
        _text("run", [run] * len(summaries)),
        _text("model", [model.name] * len(summaries)),
        _text("weights", [model.weights.value] * len(summaries)),
        _text("boundary", [analysis.boundary.value] * len(summaries)),
        (Column("rank", "#"), tuple(ranks)),
        *_parts(summaries),
        filled.pop("blocks"),
        filled.pop("trials"),
        _text("energy_grade", [s.energy_grade for s in summaries]),
    )
    after = (
        _text("on_pareto_front", [str(s.on_pareto_front) for s in summaries]),
        (
            Column("best_over_this", "ratio", Form.QUANTITY, bounds=True, ratio=True),
            tuple(Entry(c.ratio if c else None) for c in comparisons),
        ),
        _text("best_needs", [c.verdict.value if c else None for c in comparisons]),
    )
    found = [analysis.quality.of(s.configuration) if analysis.quality is not None else None for s in summaries]
    columns = (*before, *filled.values(), *after, *_limits(summaries), *_quality(found))
    first, *others = columns
    return Table("configurations", "Configurations", tuple(c for c, _ in columns), _rows(first[1], others))


def _ranked(shown: View, analysis: Analysis) -> Table:
    """Every column of the ranking."""
    rows = shown.rows
    summaries = [r.summary for r in rows]
    filled: list[Filled] = [
        (CONFIGURATION, tuple(Entry(r.key, short=r.label) for r in rows)),
        (_GRADE, tuple(_grade(r) for r in rows)),
        (_SAVING, tuple(_saving(r) for r in rows)),
        *quality_columns(analysis),
        *interval_columns(summaries),
        pace_column(summaries),
        *resource_columns(summaries),
    ]
    return Table(
        "ranking",
        "Energy per generated token",
        (_PLACE, *(column for column, _ in filled)),
        _rows([_place(r, i) for i, r in enumerate(rows)], filled),
        told=told(analysis),
        grouped=0,
        marks=tuple(r.mark for r in rows),
    ).estimates("tokens_per_s", "ttft_s", "request_p95_s")


def _without_gpu(shown: View, wanted: tuple[str, ...]) -> tuple[str, ...]:
    gpu = has_gpu([r.summary for r in shown.rows])
    return tuple(name for name in wanted if gpu or name not in _GPU)


def _rows(first: list[Entry] | tuple[Entry, ...], others: list[Filled] | tuple[Filled, ...]) -> tuple[Row, ...]:
    return tuple(zip(first, *(entries for _, entries in others), strict=True))


def _place(row: Ranked, index: int) -> Entry:
    return Entry(index + 1, text=Quantity(f"{row.mark.symbol}{row.rank}", value=index + 1))


def _grade(row: Ranked) -> Entry:
    grade = row.summary.energy_grade or Grade.MISSING.value
    return Entry(grade, Grade.ESTIMATED if row.estimated else None, detail=row.missing)


def _saving(row: Ranked) -> Entry:
    if not row.verdict:
        return Entry("")
    if row.verdict.startswith("undecided"):
        return Entry(row.saving.value, text=Quantity("undecided", value=row.saving.value), detail=row.verdict)
    return Entry(row.saving.value, text=row.saving)


def _text(name: str, values: list[str | None] | list[str]) -> Filled:
    return Column(name, name), tuple(map(Entry, values))


def _parts(summaries: tuple[ConfigurationSummary, ...]) -> tuple[Filled, ...]:
    cs = [s.configuration for s in summaries]
    return (
        _text("configuration", [c.key for c in cs]),
        _text("engine", [c.engine for c in cs]),
        _text("provider", [c.provider.value for c in cs]),
        _text("precision", [c.precision.value for c in cs]),
        (Column("batch", "batch"), tuple(Entry(c.batch) for c in cs)),
        (Column("threads", "threads"), tuple(Entry(c.threads) for c in cs)),
        _text("options", [";".join(f"{name}={value}" for name, value in c.options) for c in cs]),
        _text("via", [c.via.value for c in cs]),
    )


def _limits(summaries: tuple[ConfigurationSummary, ...]) -> tuple[Filled, ...]:
    found = {column.name: (column, entries) for column, entries in limit_columns([s.limit for s in summaries])}
    return tuple(found[name] for name in _LIMITS)


def _quality(found: list[Assessment | None]) -> tuple[Filled, ...]:
    def entries(assessment: Assessment | None) -> tuple[Entry, ...]:
        if assessment is None:
            return (Entry(),) * len(_QUALITY_CSV)
        same, scored, rate = assessment.agreement, assessment.perplexity, assessment.pass_rate
        return (
            Entry(assessment.status.value),
            Entry(same.equal_share if same is not None else None),
            Entry(same.leading_share if same is not None else None),
            Entry(scored.ratio if scored is not None else None),
            Entry(scored.bits_per_byte if scored is not None else None),
            Entry(rate.estimate if rate is not None else None),
        )

    rows = [entries(assessment) for assessment in found]
    return tuple((column, tuple(row[i] for row in rows)) for i, column in enumerate(_QUALITY_CSV))
