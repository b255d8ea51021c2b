"""That torch-graph uses its key-value cache is seen, not believed: what only pretends to is told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from servewatt.engines.proof import violations
from servewatt.engines.torch_graph.model import attention as decoder_attention
from servewatt.engines.torch_graph.session import TorchGraphSession
from servewatt.records import Configuration, Model
from tests.engines.tiny import model_of, random_prompts, session_generate, transformers_generate, write_model

if TYPE_CHECKING:
    import torch

    AttendOne = Callable[..., torch.Tensor]

pytestmark = pytest.mark.engine

Load = Callable[[Model, Configuration], TorchGraphSession]
SAYS_NOTHING = "decoding does not reuse a KV cache"


def configuration(**options: str) -> Configuration:
    return Configuration("torch-graph", threads=1, options=tuple(sorted(options.items())))


def attention_of_zeros(original: AttendOne) -> AttendOne:
    """Looks at zeros instead of the cache, which itself is written as it should be."""

    def attend(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *rest: object) -> torch.Tensor:
        return original(q, keys.new_zeros(keys.shape), values.new_zeros(values.shape), *rest)

    return attend


def attention_that_forgets(original: AttendOne) -> AttendOne:
    """Leaves an empty cache behind."""

    def attend(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *rest: object) -> torch.Tensor:
        made = original(q, keys, values, *rest)
        keys.zero_()
        values.zero_()
        return made

    return attend


def attention_that_rewrites(original: AttendOne) -> AttendOne:
    """Writes other columns too, as what computes everything anew does."""

    def attend(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *rest: object) -> torch.Tensor:
        made = original(q, keys, values, *rest)
        keys.mul_(1.5)
        return made

    return attend


def generate(session: TorchGraphSession) -> None:
    list(session.generate(random_prompts(2), 4))


@pytest.mark.parametrize("change", [attention_of_zeros, attention_that_forgets, attention_that_rewrites])
@pytest.mark.parametrize("steps", ["1", "8"])
def test_a_step_that_does_not_use_the_cache_is_found_out(
    change: Callable[[AttendOne], AttendOne], steps: str, model: Model, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = load(model, configuration(steps=steps))
    generate(honest)
    assert honest.facts().kv_cache
    assert violations(configuration(steps=steps), honest.facts()) == ()
    monkeypatch.setattr(decoder_attention, "_attend_one", change(decoder_attention._attend_one))
    session = load(model, configuration(steps=steps))
    generate(session)
    assert not session.facts().kv_cache
    assert SAYS_NOTHING in violations(configuration(steps=steps), session.facts())
    generate(honest)
    assert honest.facts().kv_cache, "the proof is of the first generation"
    honest.close()
    session.close()


def test_what_a_column_held_before_does_not_matter(model: Model, load: Load) -> None:
    """A generation's keys are just those that another left in the same places."""
    session = load(model, configuration())
    generate(session)
    buffers = session._batches[2].buffers
    assert buffers is not None
    before = buffers.keys[0].clone()
    session._proof = None
    generate(session)
    assert buffers.keys[0].equal(before)
    assert session.facts().kv_cache
    session.close()


def test_tokens_whose_keys_are_zero_are_no_empty_cache(model: Model, load: Load) -> None:
    """The embedding of a padding token is all zeros in the file, and so is its key in the first layer."""
    session = load(model, configuration())
    list(session.generate([[5, 0, 0]], 3))
    buffers = session._batches[1].buffers
    assert buffers is not None
    assert not buffers.keys[0][:, :, 1:3].any()
    assert session.facts().kv_cache
    session.close()


@pytest.mark.parametrize("kind", ["llama", "bloom", "gpt_bigcode"])
def test_the_generation_in_which_it_is_seen_is_like_any_other(
    kind: str, folder_of: Callable[[str], Path], load: Load
) -> None:
    prompts = random_prompts(3, seed=5)
    session = load(model_of(folder_of(kind)), configuration())
    first = session_generate(session, prompts, 20, 3)
    assert session.facts().kv_cache
    assert first == transformers_generate(folder_of(kind), prompts, 20, 3)
    assert session_generate(session, prompts, 20, 3) == first
    session.close()


def test_a_decoder_of_one_layer_shows_the_columns_that_it_writes(tmp_path: Path, load: Load) -> None:
    session = load(model_of(write_model(tmp_path / "llama", "llama", num_hidden_layers=1)), configuration())
    generate(session)
    assert session.facts().kv_cache
    session.close()


def test_it_is_seen_while_probabilities_are_computed_too(model: Model, load: Load) -> None:
    rows = random_prompts(3, seed=2)
    session = load(model, configuration())
    found = session.log_probabilities(rows)
    assert session.facts().kv_cache
    assert session.log_probabilities(rows) == found
    session.close()
