"""The first screen: what the choice saves, what is promised and known of it, and what to type next."""

from __future__ import annotations

from servewatt.errors import counted
from servewatt.quality import says_alike
from servewatt.recommendation.records import Recommendation
from servewatt.recommendation.sentence import WIDEST_PROMISE, ratio, saving, share
from servewatt.records import Configuration, Interval, Precision, Status
from servewatt.report import units
from servewatt.report.next_steps import NARROW, next_steps
from servewatt.report.run.quality import quality_sentence
from servewatt.report.table import Column, Entry, Table
from servewatt.report.view import constraint_texts, grade_is_estimated, length
from servewatt.stats.records import Analysis, ConfigurationSummary

TODAY = "torch in fp32, which most people run today"


def answer_table(analysis: Analysis, recommendation: Recommendation) -> Table:
    """What a reader must know beside the sentence, as name and value; then what to type next."""
    rows = [*answer_facts(analysis, recommendation)]
    rows += [("next", f"{step.command} ({step.why})") for step in next_steps(analysis, recommendation)]
    columns = (Column("name", "what"), Column("value", "answer"))
    return Table("answer", "The answer", columns, tuple((Entry(name), Entry(value)) for name, value in rows), grouped=0)


def answer_facts(analysis: Analysis, recommendation: Recommendation) -> tuple[tuple[str, str], ...]:
    """(name, text) of each fact, the most important first."""
    choice = recommendation.choice
    rows: list[tuple[str, str]] = []
    if choice is not None:
        rows += [
            ("saves", saving_text(recommendation)),
            ("promise", promise_text(analysis, recommendation)),
            ("outputs", outputs_text(analysis, choice)),
        ]
        rows += [("costs", costs_text(s)) for s in analysis.summaries if s.configuration == choice]
    elif recommendation.candidates:
        names = ", ".join(c.key for c in recommendation.candidates)
        rows.append(("in question", f"{counted(len(recommendation.candidates), 'configuration')}: {names}"))
    if doubts := recommendation.doubts:
        what = "a warning" if len(doubts) == 1 else counted(len(doubts), "warning")
        rows.append(("in doubt", f"{what} below could overturn the choice"))
    if limits := constraint_texts(recommendation.constraints):
        rows.append(("limits", ", ".join(limits)))
    return tuple(rows)


def headline(sentence: str) -> tuple[str, str]:
    """The answer's sentence in two parts: what to serve, and why; the second is empty where it has no such parts."""
    head, colon, rest = sentence.partition(": ")
    return (head + colon.rstrip(), rest) if sentence.startswith("Serve with ") else (sentence, "")


def saving_text(recommendation: Recommendation) -> str:
    """What the choice saves over what people run today."""
    baseline, over = recommendation.baseline, recommendation.over_baseline
    if baseline is None:
        return f"not known: {TODAY}, was not measured"
    usual = baseline.engine == "torch" and baseline.precision is Precision.FP32
    who = f"{baseline.key} ({TODAY})" if usual else baseline.key
    if baseline == recommendation.choice:
        return f"nothing: it is {TODAY}" if usual else "nothing: it is the one that it was to be set beside"
    if over is None:
        return f"not known: it shares no episode with {who}"
    return _beside(over.ratio, who)


def _beside(over: Interval, who: str) -> str:
    if over.low is None or over.high is None or units.says_nothing(over):
        return f"not told yet: too little was measured beside {who}"
    if over.high < 1:
        return f"{saving(over)} of the energy that {who} needs"
    word = "nothing" if over.low > 1 else "not told yet"
    return f"{word}: it needs {ratio(over)} times the energy of {who}"


def promise_text(analysis: Analysis, recommendation: Recommendation) -> str:
    """How much anything else could save at most."""
    promise = recommendation.promise
    if promise is None:
        return "none: there is nothing to compare it with"
    if promise >= WIDEST_PROMISE:
        return f"none yet: {length(analysis)} cannot tell"
    among = "nothing else within the limits" if recommendation.exclusions else "nothing else measured"
    known = f"{among} saves more than {share(promise)}"
    return known if recommendation.decided else f"{known}; wanted are {units.percent(recommendation.tie)}"


def outputs_text(analysis: Analysis, choice: Configuration) -> str:
    """What is known of the quality of its outputs; what int8 and int4 cost is never left unsaid."""
    quality, kind = analysis.quality, choice.precision.value
    if quality is not None:
        if says_alike(choice, quality.reference):
            return "the quality of all others is measured beside theirs"
        if known := quality_sentence(quality, choice):
            return known
        found = quality.of(choice)
        if found is not None and found.status is not Status.OK:
            return f"their quality is not known: {found.reason}"
    same = next((_same_tokens(analysis, s) for s in analysis.summaries if s.configuration == choice), "")
    if choice.precision is Precision.FP32:
        return same or "computed in fp32, as the model was made"
    if choice.precision in NARROW:
        return f"nothing is known of what {kind} costs in quality{f'; {same}' if same else ''}"
    return f"{kind}; their quality was not measured{f'; {same}' if same else ''}"


def _same_tokens(analysis: Analysis, summary: ConfigurationSummary) -> str:
    if summary.output_agreement is None or analysis.reference is None:
        return ""
    if analysis.reference == summary.configuration:
        return "computed in fp32, as the model was made; those of all others are compared with them"
    return f"{units.percent(summary.output_agreement)} of their tokens equal those of {analysis.reference.key}"


def costs_text(summary: ConfigurationSummary) -> str:
    """Energy, speed and latency, in one line."""
    parts = []
    if summary.energy_j_per_token is not None:
        scale = units.si([summary.energy_j_per_token.estimate], "J")
        shown = units.quantity(summary.energy_j_per_token, scale)
        sign = "~" if grade_is_estimated(summary.energy_grade) else ""
        bounds = f" {shown.interval}" if summary.energy_j_per_token.low is not None else ""
        parts.append(f"{sign}{shown.estimate} {scale.unit}/token{bounds}, {summary.energy_grade}")
    if summary.tokens_per_s is not None:
        parts.append(f"{units.number(summary.tokens_per_s.estimate)} tokens/s")
    if summary.request_p95_s is not None:
        parts.append(f"request p95 {units.duration(summary.request_p95_s.estimate)}")
    return "; ".join(parts)
