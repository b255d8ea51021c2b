from __future__ import annotations

from dataclasses import replace

import pytest

from servewatt.study.protocol.selection import Candidate, code_signs, filters, humaneval_evidence, left_at, run

GOOD = Candidate(
    hub_id="owner/coder-1b",
    task="text-generation",
    architecture="LlamaForCausalLM",
    parameters=1_000_000_000,
    gated=False,
    humaneval=("results",),
    code=("tag code",),
    derived=False,
    downloads=10,
    likes=1,
    created_at="",
)
PICKLED = replace(GOOD, hub_id="owner/pickled", parameters=None)
LARGE = replace(GOOD, hub_id="owner/large", parameters=5_000_000_001)
UNTESTED = replace(GOOD, hub_id="owner/untested", humaneval=())
GATED = replace(UNTESTED, hub_id="owner/gated", gated=True)
PROSE = replace(GOOD, hub_id="owner/prose", code=())
ALL = [PICKLED, GOOD, LARGE, UNTESTED, GATED, PROSE]


def test_each_filter_leaves_out_its_own() -> None:
    stages, survivors = run(iter(ALL), filters())
    assert [(stage.name, stage.remaining) for stage in stages] == [
        ("text-generation", 6),
        ("safetensors", 5),
        ("size", 4),
        ("humaneval", 3),
        ("code", 2),
    ]
    assert survivors == (GOOD, GATED)
    assert [model.by_hand for model in survivors] == [False, True]
    assert [stage.published for stage in stages] == [104_816, 67_761, 32_242, 430, None]


def test_the_size_limit_is_inclusive_and_can_be_set() -> None:
    assert left_at(replace(GOOD, parameters=5_000_000_000), filters()) == ""
    assert left_at(GOOD, filters(10**9 - 1)) == "size"
    assert filters(3_000_000_000)[1].rule == "at most 3 B parameters"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (GOOD, ""),
        (GATED, ""),
        (PICKLED, "safetensors"),
        (LARGE, "size"),
        (UNTESTED, "humaneval"),
        (PROSE, "code"),
        (replace(GOOD, task="summarization"), "text-generation"),
        (replace(PICKLED, humaneval=(), code=()), "safetensors"),
    ],
)
def test_where_a_model_is_left_out(model: Candidate, name: str) -> None:
    assert left_at(model, filters()) == name


def test_nothing_listed_leaves_nothing() -> None:
    stages, survivors = run([], filters())
    assert [stage.remaining for stage in stages] == [0] * 5
    assert survivors == ()


@pytest.mark.parametrize(
    ("evaluated_on", "card", "tags", "found"),
    [
        (("openai_humaneval",), "{}", (), ("results",)),
        (("HumanEval (Python)",), '{"metrics": "HumanEval"}', (), ("results", "card")),
        ((), '{"benchmarks": ["human-eval"]}', ("dataset:openai/human_eval",), ("card", "tag")),
        (("mbpp",), '{"language": "human"}', ("evaluation",), ()),
    ],
)
def test_evidence_of_a_humaneval_result(
    evaluated_on: tuple[str, ...], card: str, tags: tuple[str, ...], found: tuple[str, ...]
) -> None:
    assert humaneval_evidence(evaluated_on, card, tags) == found


def test_signs_of_code() -> None:
    assert code_signs("owner/x", ("Code", "encoder"), ("en", "C++"), ("bigcode/the-stack",)) == (
        "tag Code",
        "language C++",
        "data set bigcode/the-stack",
    )
    assert code_signs("google/codegemma-2b", (), (), ()) == ("name",)
    assert code_signs("code-owner/prose", ("text-generation",), ("en",), ("c4",)) == ()
