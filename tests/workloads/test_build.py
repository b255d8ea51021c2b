from __future__ import annotations

import pytest

from servewatt.errors import InputError
from servewatt.records import Stop, Workload
from servewatt.workloads.build import build
from servewatt.workloads.prompts import PromptSet


def work(
    *texts: str, new_tokens: int = 4, limit: int | None = None, context: int = 10, stop: Stop = Stop.LENGTH
) -> Workload:
    return build(
        PromptSet("set", texts),
        lambda text: list(text.encode()),
        new_tokens=new_tokens,
        stop=stop,
        limit=limit,
        context_length=context,
        vocabulary_size=128,
    )


def test_ids_are_computed_once() -> None:
    assert work("ab", "c", stop=Stop.EOS) == Workload("set", ((97, 98), (99,)), 4, Stop.EOS)


def test_a_limit_takes_the_first() -> None:
    assert work("a", "b", "c", limit=2) == Workload("set (first 2)", ((97,), (98,)), 4)
    assert work("a", "b", limit=9).name == "set"


def test_a_prompt_may_fill_the_context() -> None:
    assert len(work("abcdef").prompts[0]) == 6


def test_a_prompt_that_is_too_long() -> None:
    with pytest.raises(InputError) as caught:
        work("a", "abcdefg")
    assert caught.value.message == "prompt 2 of set is 7 tokens long: with 4 new ones it exceeds the context of 10"
    assert "lower --new-tokens to 3" in caught.value.hint
    with pytest.raises(InputError) as caught:
        work("abcdefg", "abcdefgh", "a")
    assert caught.value.message.startswith("prompt 2 of set is 8 tokens long")
    assert caught.value.message.endswith("(2 prompts do)")
    assert "lower --new-tokens to 2" in caught.value.hint
    with pytest.raises(InputError) as caught:
        work("abcdefghij", new_tokens=1)
    assert "shorten it to fewer than 10 tokens" in caught.value.hint


@pytest.mark.parametrize(
    ("texts", "new_tokens", "limit", "words"),
    [
        (("a",), 0, None, "0 new tokens is no work"),
        (("a",), -3, None, "-3 new tokens"),
        (("a",), 10, None, "no room for a prompt"),
        (("a",), 4, 0, "a limit of 0 leaves no prompts"),
        (("a",), 4, -1, "a limit of -1"),
        ((), 4, None, "has no prompts"),
        (("a", ""), 4, None, "prompt 2 of set has no tokens"),
        (("aä",), 4, None, "token id 195, outside the model's vocabulary of 128"),
    ],
)
def test_what_is_no_work(texts: tuple[str, ...], new_tokens: int, limit: int | None, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        work(*texts, new_tokens=new_tokens, limit=limit)
    assert caught.value.hint
