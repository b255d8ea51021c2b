from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.errors import InputError
from servewatt.records import Configuration
from servewatt.serve.requests import GenerateRequest, read_generate
from tests.harness.builders import model

GOOD = {"prompts": [[1, 2], [3]], "max_new_tokens": 4}


def read(**changes: object) -> GenerateRequest:
    """A request to a model of 1000 ids and a context of 128, loaded for batches of two."""
    body = json.dumps({**GOOD, **changes}).encode()
    return read_generate(body, model(Path("nowhere")), replace(Configuration("fake"), batch=2))


def test_a_good_request_is_read_as_it_is() -> None:
    assert read(stop_ids=[7]) == GenerateRequest(prompts=[[1, 2], [3]], max_new_tokens=4, stop_ids=[7])


def test_the_context_may_be_filled_to_the_last_position() -> None:
    assert read(prompts=[[5] * 124]).max_new_tokens == 4
    with pytest.raises(InputError, match=r"125 tokens and 4 new ones exceed the model's context of 128"):
        read(prompts=[[5] * 125])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompts": []}, "prompts: .* at least 1 item"),
        ({"prompts": [[1], []]}, r"prompts\.1: .* at least 1 item"),
        ({"prompts": [[1], [2], [3]]}, "3 at a time, but the configuration loaded has batch 2"),
        ({"prompts": [[1], [1000]]}, r"prompts\.1: token id 1000 is outside"),
        ({"prompts": [[-1]]}, "token id -1 is outside"),
        ({"prompts": [["1"]]}, r"prompts\.0\.0: .* integer"),
        ({"prompts": [[1.0]]}, r"prompts\.0\.0: .* integer"),
        ({"prompts": [[True]]}, r"prompts\.0\.0: .* integer"),
        ({"prompts": "def f():"}, "prompts: .* array"),
        ({"max_new_tokens": 0}, "max_new_tokens: .* greater than or equal to 1"),
        ({"max_new_tokens": 10**30}, "max_new_tokens|exceed"),
        ({"stop_ids": [1000]}, "stop_ids: token id 1000 is outside"),
        ({"stop": 3}, "stop: "),
    ],
)
def test_bad_requests_are_refused_with_the_place(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(**changes)
    assert caught.value.hint


@pytest.mark.parametrize("body", [b"", b"prompts=1", b"[1]", b"\xff", b'{"max_new_tokens": 1}'])
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InputError):
        read_generate(body, model(Path("nowhere")), Configuration("fake"))
