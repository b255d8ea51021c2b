"""Assesses output quality: every configuration answers, and is compared with the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from servewatt import engines
from servewatt.advice import Advice, Setting
from servewatt.errors import InputError, ServewattError
from servewatt.experiment import naming
from servewatt.experiment.events import Log, Note, Observer, step
from servewatt.experiment.planning import distinct, make_plan
from servewatt.experiment.study_file import StudyFile
from servewatt.harness.assess import Said, Task, assess
from servewatt.harness.environment import describe_gpus
from servewatt.harness.sandbox import find_sandbox
from servewatt.harness.unit_tests import Examination, passes
from servewatt.models.cache import ArtefactCache
from servewatt.models.tokenizer import Tokenizer
from servewatt.models.tokenizer import load as load_tokenizer
from servewatt.quality import RANDOM, Assessment, Document, HeldOut, Perplexity, Quality
from servewatt.records import Configuration, Interval, Model, Plan, Status, Stop, Weights
from servewatt.stats import quality as statistics
from servewatt.version import __version__
from servewatt.workloads.held_out import Texts, read_texts
from servewatt.workloads.prompts import Problem
from servewatt.workloads.prompts import read as read_prompts


@dataclass(frozen=True)
class Questions:
    """How outputs are judged, beside the prompts that the plan has."""

    reference: str = "torch/cpu/fp32"
    """Name of the configuration that the others are compared with, at the first batch and the threads asked for."""
    text: Path | None = None
    """Folder of held-out code to score; None for part of Python's standard library."""
    documents: int = 24
    """Files of it."""
    text_tokens: int = 256
    """Tokens of each file."""
    seed: int = 0
    """Of the choice of text and of the bootstrap."""
    run_tests: bool = False
    """Run the answers with the problems' tests, in a sandbox where user namespaces work."""
    timeout_s: float = 3600.0
    """Most time of one configuration."""


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


def assess_quality(
    asked: StudyFile,
    questions: Questions,
    observer: Observer | None = None,
    *,
    configurations: Sequence[Configuration] | None = None,
) -> Quality:
    """Have every configuration answer, the reference first, and compare.

    `configurations` stand in place of those that `asked` lists. Nothing is metered. A configuration that fails is an
    assessment with that status. Raises ServewattError for what cannot be used: a name, a text too short, problems
    without tests, random weights whose answers are to be tested.
    """
    observer = observer or Log()
    part = asked.configurations
    reference = replace(naming.configuration(questions.reference), batch=part.batches[0], threads=part.threads)
    engines.check(reference)
    with ArtefactCache() as cache:
        plan, left_out = make_plan(asked, cache, has_gpu=bool(describe_gpus()), configurations=configurations)
        tokenizer = load_tokenizer(plan.model)
        put = _Asked(
            plan=plan,
            tokenizer=tokenizer,
            texts=_texts(plan.model, tokenizer, questions),
            problems=_problems(plan, asked.workload.prompts) if questions.run_tests else (),
            seed=questions.seed,
            timeout_s=questions.timeout_s,
        )
        for left in distinct(left_out):
            observer.notice(Note(f"left out: {left.reason} ({left.hint})"))
        if put.problems:
            observer.notice(Note(find_sandbox().in_words))
        assessments = _assess_all(observer, put, reference)
    return Quality(
        model=plan.model.without_place,
        reference=reference,
        workload=plan.workload.name,
        workload_digest=plan.workload.digest,
        new_tokens=plan.workload.new_tokens,
        assessments=tuple(assessments),
        held_out=_held_out(put),
        servewatt_version=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        sandbox=find_sandbox().name if put.problems else "",
    )


def _texts(model: Model, tokenizer: Tokenizer, questions: Questions) -> Texts | None:
    """The held-out text; None where probabilities would mean nothing."""
    if model.weights is Weights.RANDOM:
        return None
    return read_texts(
        questions.text,
        tokenizer.encode,
        tokenizer.spans,
        documents=questions.documents,
        tokens=min(questions.text_tokens, model.context_length),
        seed=questions.seed,
    )


def _problems(plan: Plan, source: str) -> tuple[Problem, ...]:
    problems = read_prompts(source).problems[: len(plan.workload.prompts)]
    if not problems:
        raise InputError(
            f"{source} has no tests to run", Advice("leave out ", Setting.RUN_TESTS, ", or give problems with tests")
        )
    if plan.model.weights is Weights.RANDOM:
        raise InputError("random weights answer nothing that could be tested", Advice("leave out ", Setting.RUN_TESTS))
    return problems


def _assess_all(observer: Observer, asked: _Asked, reference: Configuration) -> list[Assessment]:
    base: Said | None = None
    found = []
    wanted = tuple(dict.fromkeys((reference, *asked.plan.configurations)))
    for number, configuration in enumerate(wanted, 1):
        with step(observer, f"asking {number}/{len(wanted)} {configuration.key}"):
            said = _ask(asked, configuration)
            base = said if base is None else base
            try:
                found.append(_judge(asked, configuration, said, base))
            except ServewattError as error:
                found.append(Assessment(configuration, Status.FAILED, error.message, error.hint, said.facts))
        if said.status is not Status.OK:
            observer.notice(Note(f"{said.status.value} {configuration.key}: {said.reason}"))
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
