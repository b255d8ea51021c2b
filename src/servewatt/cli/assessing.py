"""What `servewatt quality` does: plan, have every configuration answer, compare, show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from servewatt import __version__, engines, wire
from servewatt.cli import running
from servewatt.cli.planning import make_plan, weights_note
from servewatt.errors import InputError, ServewattError
from servewatt.harness.assess import Said, Task, assess
from servewatt.harness.environment import describe_gpus
from servewatt.harness.unit_tests import passes
from servewatt.models.cache import ArtefactCache
from servewatt.models.tokenizer import Tokenizer
from servewatt.models.tokenizer import load as load_tokenizer
from servewatt.records import Configuration, Model, Plan, Precision, Provider, Status, Stop, Weights
from servewatt.report import units
from servewatt.stats import quality as statistics
from servewatt.stats.quality import Agreement, Assessment, Document, HeldOut, Perplexity, Quality
from servewatt.stats.records import Interval
from servewatt.workloads.held_out import Texts, read_texts
from servewatt.workloads.prompts import Problem
from servewatt.workloads.prompts import read as read_prompts

_RANDOM = "weights: random"


@dataclass(frozen=True)
class _Asked:
    """What every configuration is asked, and how its answers are judged."""

    plan: Plan
    tokenizer: Tokenizer
    texts: Texts | None
    problems: tuple[Problem, ...]
    """Whose tests are run; empty for none."""
    seed: int
    timeout_s: float


def run(options: dict[str, Any]) -> Quality:
    """Assess the configurations that the command line asks for, the reference first; progress goes to stderr."""
    console = Console(stderr=True)
    request = running.read_request(None, options)
    part = request.configurations
    named = parse_configuration(options["reference"])
    reference = replace(named, batch=part.batches[0], threads=part.threads)
    engines.check(reference)
    with ArtefactCache() as cache:
        plan, left_out = make_plan(request, cache, has_gpu=bool(describe_gpus()))
        tokenizer = load_tokenizer(plan.model)
        asked = _Asked(
            plan=plan,
            tokenizer=tokenizer,
            texts=_texts(plan.model, tokenizer, options),
            problems=_problems(plan, request.workload.prompts) if options["run_tests"] else (),
            seed=options["seed"],
            timeout_s=options["timeout_s"],
        )
        for left in left_out:
            console.print(f"left out: {left.reason} ({left.hint})", markup=False, highlight=False)
        assessments = _assess_all(console, asked, reference)
    return Quality(
        model=plan.model,
        reference=reference,
        workload=plan.workload.name,
        workload_digest=plan.workload.digest,
        new_tokens=plan.workload.new_tokens,
        assessments=tuple(assessments),
        held_out=_held_out(asked),
        servewatt_version=__version__,
    )


def parse_configuration(text: str) -> Configuration:
    """The configuration that `ENGINE/PROVIDER/PRECISION` names; InputError if it names none."""
    try:
        engine, provider, precision = text.split("/")
        return Configuration(engines.entry(engine).name, Provider(provider), Precision(precision))
    except ValueError as error:
        raise InputError(f"{text!r} names no configuration", "such as torch/cpu/fp32") from error


def write(quality: Quality, file: Path) -> None:
    """Write the record as JSON; InputError if the file cannot be written."""
    try:
        file.write_text(wire.dump(quality) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}", "give the path of a file in a folder") from error


def read(file: Path) -> Quality:
    """A record that `write` wrote; InputError if it is none."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}", "servewatt quality --out FILE writes one") from error
    return wire.load(Quality, content)


def _texts(model: Model, tokenizer: Tokenizer, options: dict[str, Any]) -> Texts | None:
    """The held-out text; None where probabilities would mean nothing."""
    if model.weights is Weights.RANDOM:
        return None
    return read_texts(
        options["text"],
        tokenizer.encode,
        tokenizer.spans,
        documents=options["documents"],
        tokens=min(options["text_tokens"], model.context_length),
        seed=options["seed"],
    )


def _problems(plan: Plan, source: str) -> tuple[Problem, ...]:
    problems = read_prompts(source).problems[: len(plan.workload.prompts)]
    if not problems:
        raise InputError(f"{source} has no tests to run", "leave out --run-tests, or give problems with tests")
    if plan.model.weights is Weights.RANDOM:
        raise InputError("random weights answer nothing that could be tested", "leave out --run-tests")
    return problems


def _assess_all(console: Console, asked: _Asked, reference: Configuration) -> list[Assessment]:
    base: Said | None = None
    found = []
    for configuration in dict.fromkeys((reference, *asked.plan.configurations)):
        with console.status(f"asking {escape(configuration.key)}"):
            said = _ask(asked, configuration)
            base = said if base is None else base
            try:
                found.append(_judge(asked, configuration, said, base))
            except ServewattError as error:
                found.append(Assessment(configuration, Status.FAILED, error.message, error.hint, said.facts))
        if said.status is not Status.OK:
            console.print(f"{said.status.value} {configuration.key}: {said.reason}", markup=False, highlight=False)
    return found


def _ask(asked: _Asked, configuration: Configuration) -> Said:
    workload, model = asked.plan.workload, asked.plan.model
    task = Task(
        model=model,
        configuration=configuration,
        prompts=workload.prompts,
        new_tokens=workload.new_tokens,
        stop_ids=model.eos_ids if workload.stop is Stop.EOS else (),
        documents=tuple(text.ids for text in asked.texts.documents) if asked.texts else (),
    )
    return assess(task, timeout_s=asked.timeout_s)


def _judge(asked: _Asked, configuration: Configuration, said: Said, base: Said) -> Assessment:
    if said.status is not Status.OK:
        return Assessment(configuration, said.status, said.reason, said.hint, said.facts)
    perplexity, why_not = _perplexity(asked, said, base)
    return Assessment(
        configuration=configuration,
        status=Status.OK,
        facts=said.facts,
        agreement=statistics.agreement(base.outputs, said.outputs) if base.status is Status.OK else None,
        perplexity=perplexity,
        no_perplexity=why_not,
        pass_rate=_pass_rate(asked, said) if asked.problems else None,
    )


def _perplexity(asked: _Asked, said: Said, base: Said) -> tuple[Perplexity | None, str]:
    """Perplexity, or why there is none."""
    if asked.texts is None:
        return None, _RANDOM
    if not said.log_probabilities:
        return None, said.not_scored
    sizes = [document.scored_bytes for document in asked.texts.documents]
    known = [size for size in sizes if size is not None]
    scores = said.log_probabilities
    try:
        ratio = (
            statistics.perplexity_ratio(base.log_probabilities, scores, seed=asked.seed)
            if base.log_probabilities
            else None
        )
        bits = statistics.bits_per_byte(scores, sum(known)) if len(known) == len(sizes) else None
        return Perplexity(statistics.perplexity(scores), bits, ratio), ""
    except ValueError as error:
        return None, str(error)


def _pass_rate(asked: _Asked, said: Said) -> Interval:
    """Share of problems whose tests the answer passes."""
    ends = frozenset(asked.plan.model.eos_ids)
    passed = 0
    for problem, output in zip(asked.problems, said.outputs, strict=True):
        kept = next((place for place, token in enumerate(output) if token in ends), len(output))
        body = answer_body(asked.tokenizer.decode(output[:kept]))
        passed += passes(f"{problem.prompt}{body}\n{problem.test}\ncheck({problem.entry_point})\n")
    return statistics.pass_rate(passed, len(asked.problems))


def answer_body(text: str) -> str:
    """An answer up to the first line that begins at the margin: what follows is no longer the function."""
    kept: list[str] = []
    for line in text.split("\n"):
        if kept and line[:1].strip():
            break
        kept.append(line)
    return "\n".join(kept)


def _held_out(asked: _Asked) -> HeldOut | None:
    texts = asked.texts
    if texts is None:
        return None
    documents = tuple(Document(d.path, d.sha256, d.scored_bytes) for d in texts.documents)
    return HeldOut(texts.source, asked.seed, len(texts.documents[0].ids), documents, texts.digest)


def show(quality: Quality, console: Console | None = None) -> None:
    """The record as a table."""
    console = console or Console(highlight=False)
    table = Table(title=f"Quality of {quality.model.name}{weights_note(quality.model)}", title_justify="left")
    tested = any(a.pass_rate for a in quality.assessments)
    table.add_column("configuration", overflow="fold")
    heads = ["same\noutput", "same\nbeginning", "first\ndiffers", "perplexity\nratio", "bits/\nbyte"]
    for head in heads + ["passed"] * tested:
        table.add_column(head, justify="right", no_wrap=True)
    for assessment in quality.assessments:
        cells = _cells(assessment)
        table.add_row(escape(assessment.configuration.key), *(cells if tested else cells[:-1]))
    console.print(table)
    for line in _notes(quality):
        console.print(line, markup=False, soft_wrap=True)


def _cells(assessment: Assessment) -> list[str]:
    if assessment.status is not Status.OK:
        return [assessment.status.value.replace("_", " "), "", "", "", "", ""]
    same, scored, rate = assessment.agreement, assessment.perplexity, assessment.pass_rate
    return [
        units.percent(same.equal_share) if same else "",
        units.percent(same.leading_share) if same else "",
        _first(same),
        _ratio(scored.ratio) if scored and scored.ratio else "",
        f"{scored.bits_per_byte:.4f}" if scored and scored.bits_per_byte is not None else "",
        f"{round(rate.estimate * rate.n)} of {rate.n}" if rate else "",
    ]


def _first(same: Agreement | None) -> str:
    """The token at which half of the differing outputs have differed."""
    if same is None:
        return ""
    return "never" if same.first_difference is None else f"at {same.first_difference + 1:g}"


def _ratio(ratio: Interval) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.estimate:.4f}"
    return f"{ratio.estimate:.4f}\n[{ratio.low:.4f}, {ratio.high:.4f}]"


def _notes(quality: Quality) -> list[str]:
    """What a reader must know beside the table."""
    lines = [f"Reference: {quality.reference.key}. Greedy, {quality.workload}, {quality.new_tokens} new tokens."]
    text = quality.held_out
    if text is not None:
        lines.append(
            f"Text: {len(text.documents)} files of {text.source}, {text.tokens} tokens each, seed {text.seed}, "
            f"sha256 {text.digest[:12]}."
        )
    for assessment in quality.assessments:
        key = assessment.configuration.key
        if assessment.status is not Status.OK:
            lines.append(f"{key}: {assessment.reason}" + (f" ({assessment.hint})" if assessment.hint else ""))
        elif assessment.no_perplexity and assessment.no_perplexity != _RANDOM:
            lines.append(f"{key}: no perplexity: {assessment.no_perplexity}")
    if quality.model.weights is Weights.RANDOM:
        lines.append(
            f"No perplexity ({_RANDOM}): agreement tells how alike the engines compute, not how good they are."
        )
    return lines
