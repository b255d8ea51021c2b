"""How the study selected models from the hub, as a funnel: one filter after another, and how many remain.

The filters are those of the study's own notebook (model_selection/new_extraction_03.ipynb of its replication
repository): text generation, safetensors, at most 5 billion parameters, evidence of a HumanEval result. A gated model
without evidence stayed in, to be checked by hand, because a program cannot read a gated card. What followed was done
by hand, among others whether a model is for code; here that is a filter of its own, by signs on the model's page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

TASK = "text-generation"
MAX_PARAMETERS = 5_000_000_000

_HUMANEVAL = "humaneval"
_CODE_TAGS = ("code", "code-generation", "code generation", "coder", "programming")
_CODE_LANGUAGES = ("c", "c++", "code", "go", "java", "javascript", "php", "python", "ruby", "rust", "typescript")
_CODE_DATA = ("code", "the-stack", "starcoder", "humaneval", "mbpp")
_CODE_NAMES = ("code", "coding", "programmer")


@dataclass(frozen=True)
class Candidate:
    """A model of the hub, reduced to what the funnel asks."""

    hub_id: str
    task: str
    architecture: str
    parameters: int | None
    """In its safetensors; None where it has none."""
    gated: bool
    humaneval: tuple[str, ...]
    """Where its page shows a HumanEval result: `results`, `card`, `tag`."""
    code: tuple[str, ...]
    """What on its page says that it is for code, such as `tag code`."""
    derived: bool
    """Whether its card names a model that it was derived from."""
    downloads: int
    likes: int
    created_at: str

    @property
    def by_hand(self) -> bool:
        """Whether only a person can tell if it has a HumanEval result."""
        return self.gated and not self.humaneval


@dataclass(frozen=True)
class Filter:
    """One step of the funnel."""

    name: str
    rule: str
    keeps: Callable[[Candidate], bool]


@dataclass(frozen=True)
class Stage:
    """How many remain after a filter."""

    name: str
    rule: str
    remaining: int
    published: int | None
    """As the study's notebook printed it on 6 November 2024; None where it has no such step."""


@dataclass(frozen=True)
class Fate:
    """What became of one of the study's twelve."""

    name: str
    hub_id: str
    left_at: str
    """The filter that it does not pass; empty if it passes all, `hub` if the hub does not have it."""


@dataclass(frozen=True)
class Selection:
    """A query of the hub, and what the funnel left of it."""

    date: str
    """UTC, ISO 8601."""
    endpoint: str
    task: str
    sort: str
    limit: int | None
    """The first so many were looked at; None for all."""
    max_parameters: int
    stages: tuple[Stage, ...]
    """The first is what the hub listed."""
    survivors: tuple[Candidate, ...]
    """In the hub's order."""
    by_hand: int
    """Survivors that are gated and show no HumanEval result."""
    twelve: tuple[Fate, ...]
    servewatt_version: str


@dataclass(frozen=True)
class StudyModel:
    """One of the study's twelve."""

    name: str
    hub_id: str
    architecture: str
    parameters: int
    """Exact, of the shape; tied weights once."""
    published_parameters: float
    size_group: int
    licence: str
    gated: bool
    revision: str | None
    """Commit that is downloaded; None if it is the main branch's at download."""
    downloaded: str | None
    """Commit whose weights are on this machine; None if there are none."""
    causal_mask_elements: int
    """Elements of stored causal masks that the published count took for parameters."""


PUBLISHED = {TASK: 104_816, "safetensors": 67_761, "size": 32_242, "humaneval": 430}
"""Counts that the study's notebook printed (metadata of 6 November 2024)."""


def filters(max_parameters: int = MAX_PARAMETERS) -> tuple[Filter, ...]:
    """The funnel's filters, in order; the task is asked of the hub."""
    billions = f"{max_parameters / 1e9:g} B"
    return (
        Filter("safetensors", "has safetensors", lambda c: c.parameters is not None),
        Filter("size", f"at most {billions} parameters", lambda c: (c.parameters or 0) <= max_parameters),
        Filter("humaneval", "shows a HumanEval result, or is gated", lambda c: bool(c.humaneval) or c.gated),
        Filter("code", "is for code, by its page", lambda c: bool(c.code)),
    )


def run(candidates: Iterable[Candidate], steps: Sequence[Filter]) -> tuple[tuple[Stage, ...], tuple[Candidate, ...]]:
    """The count after each filter, beginning with all, and the survivors in the order given."""
    counts = [0] * (len(steps) + 1)
    survivors: list[Candidate] = []
    for candidate in candidates:
        passed = next((i for i, step in enumerate(steps) if not step.keeps(candidate)), len(steps))
        for stage in range(passed + 1):
            counts[stage] += 1
        if passed == len(steps):
            survivors.append(candidate)
    names = [(TASK, f"listed under {TASK}"), *((step.name, step.rule) for step in steps)]
    stages = tuple(
        Stage(name, rule, count, PUBLISHED.get(name)) for (name, rule), count in zip(names, counts, strict=True)
    )
    return stages, tuple(survivors)


def left_at(candidate: Candidate, steps: Sequence[Filter]) -> str:
    """Name of the first filter that a model does not pass; empty if it passes all."""
    if candidate.task != TASK:
        return TASK
    return next((step.name for step in steps if not step.keeps(candidate)), "")


def humaneval_evidence(evaluated_on: Iterable[str], card: str, tags: Iterable[str]) -> tuple[str, ...]:
    """Where a page shows a HumanEval result; `card` is the text of its metadata."""
    places = {
        "results": any(_HUMANEVAL in _plain(name) for name in evaluated_on),
        "card": _HUMANEVAL in _plain(card),
        "tag": any(_HUMANEVAL in _plain(tag) for tag in tags),
    }
    return tuple(place for place, shown in places.items() if shown)


def code_signs(hub_id: str, tags: Iterable[str], languages: Iterable[str], datasets: Iterable[str]) -> tuple[str, ...]:
    """What on a page says that a model is for code."""
    signs = [f"tag {tag}" for tag in tags if tag.lower() in _CODE_TAGS]
    signs += [f"language {language}" for language in languages if language.lower() in _CODE_LANGUAGES]
    signs += [f"data set {name}" for name in datasets if any(word in name.lower() for word in _CODE_DATA)]
    name = hub_id.rpartition("/")[2].lower()
    signs += ["name"] if any(word in name for word in _CODE_NAMES) else []
    return tuple(dict.fromkeys(signs))


def _plain(text: str) -> str:
    """Lower case, without what authors write between the two words."""
    return text.lower().replace("human_eval", _HUMANEVAL).replace("human-eval", _HUMANEVAL)
