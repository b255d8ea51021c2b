"""What `servewatt quality` does: plan, have every configuration answer, compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from servewatt import __version__, engines
from servewatt.cli.progress import step
from servewatt.cli.request import read_request
from servewatt.errors import InputError, ServewattError
from servewatt.experiment import naming
from servewatt.experiment.planning import distinct, make_plan
from servewatt.harness.assess import Said, Task, assess
from servewatt.harness.environment import describe_gpus
from servewatt.harness.sandbox import find_sandbox
from servewatt.harness.unit_tests import Examination, passes
from servewatt.models.cache import ArtefactCache
from servewatt.models.tokenizer import Tokenizer
from servewatt.models.tokenizer import load as load_tokenizer
from servewatt.quality import Assessment, Document, HeldOut, Perplexity, Quality
from servewatt.records import Configuration, Interval, Model, Plan, Status, Stop, Weights
from servewatt.report.run.quality import RANDOM
from servewatt.stats import quality as statistics
from servewatt.workloads.held_out import Texts, read_texts
from servewatt.workloads.prompts import Problem
from servewatt.workloads.prompts import read as read_prompts


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
    request = read_request(None, options)
    part = request.configurations
    named = naming.configuration(options["reference"])
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
        for left in distinct(left_out):
            console.print(f"left out: {left.reason} ({left.hint})", markup=False, highlight=False)
        if asked.problems:
            console.print(find_sandbox().in_words, markup=False, highlight=False)
        assessments = _assess_all(console, asked, reference)
    return Quality(
        model=plan.model.without_place,
        reference=reference,
        workload=plan.workload.name,
        workload_digest=plan.workload.digest,
        new_tokens=plan.workload.new_tokens,
        assessments=tuple(assessments),
        held_out=_held_out(asked),
        servewatt_version=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        sandbox=find_sandbox().name if asked.problems else "",
    )


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
    wanted = tuple(dict.fromkeys((reference, *asked.plan.configurations)))
    for number, configuration in enumerate(wanted, 1):
        with step(console, f"asking {number}/{len(wanted)} {configuration.key}"):
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
        return None, RANDOM
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
        passed += passes(Examination(problem.prompt, body, problem.test, problem.entry_point))
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
