from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from servewatt.errors import InputError, RefusedError
from servewatt.models.cache import ArtefactCache
from servewatt.models.resolve import resolve
from servewatt.records import Model, ModelSource, Weights
from tests.models.tiny import HIDDEN, LAYERS, PARAMETERS, VOCABULARY, llama_tensors, write_llama


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ArtefactCache]:
    with ArtefactCache(tmp_path / "cache", 10**9) as artefacts:
        yield artefacts


@pytest.fixture
def read(tmp_path: Path, cache: ArtefactCache) -> Callable[[], Model]:
    return lambda: resolve(str(tmp_path / "model"), cache=cache)


def test_the_facts(tmp_path: Path, read: Callable[[], Model]) -> None:
    write_llama(tmp_path / "model")
    model = read()
    assert (model.name, model.source, model.weights) == ("model", ModelSource.FOLDER, Weights.TRAINED)
    assert (model.parameters, model.weight_bytes) == (PARAMETERS, 4 * PARAMETERS)
    assert (model.vocabulary_size, model.context_length, model.eos_ids) == (VOCABULARY, 32, (0,))
    assert model.architecture == "LlamaForCausalLM"
    assert model.folder == str(tmp_path / "model")


def test_the_revision_follows_the_content(tmp_path: Path, read: Callable[[], Model]) -> None:
    write_llama(tmp_path / "model")
    first = read().revision
    assert read().revision == first
    tensors = llama_tensors()
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, tmp_path / "model" / "model.safetensors")
    second = read().revision
    assert second != first
    write_llama(tmp_path / "model", rms_norm_eps=1e-6)
    assert read().revision not in (first, second)


BUFFERS = {
    "model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(2, np.float32),
    "model.layers.0.attention.bias": np.zeros((1, 1, 32, 32), np.uint8),
    "model.layers.0.attention.masked_bias": np.zeros((), np.float16),
    "model.layers.0.attn.causal_mask": np.ones((1, 1, 32, 32), np.bool_),
    "model.layers.1.attn.causal_mask": np.ones((1, 1, 32, 32), np.float32),
    "model.position_ids": np.zeros((1, 32), np.int64),
}


def test_masks_and_tables_of_positions_are_no_weights(tmp_path: Path, read: Callable[[], Model]) -> None:
    write_llama(tmp_path / "model")
    save_file({**llama_tensors(), **BUFFERS}, tmp_path / "model" / "model.safetensors")
    assert read().parameters == PARAMETERS
    assert read().weight_bytes == 4 * PARAMETERS


def test_a_stored_head_counts_where_it_is_not_the_embedding(tmp_path: Path, read: Callable[[], Model]) -> None:
    write_llama(tmp_path / "model")
    tensors = llama_tensors()
    embedding = tensors["model.embed_tokens.weight"]
    other = embedding.copy()
    other[-1, -1] += 1
    size = VOCABULARY * HIDDEN
    for tied, head, counted in ((True, embedding, 0), (True, other, size), (False, embedding, size)):
        write_llama(tmp_path / "model", tie_word_embeddings=tied)
        save_file({**tensors, "lm_head.weight": head}, tmp_path / "model" / "model.safetensors")
        assert read().parameters == PARAMETERS + counted


def test_a_stored_head_is_compared_by_value_not_by_type(tmp_path: Path, read: Callable[[], Model]) -> None:
    write_llama(tmp_path / "model")
    tensors = llama_tensors()
    half = tensors["model.embed_tokens.weight"].astype(np.float16)
    tensors["model.embed_tokens.weight"] = half.astype(np.float32)
    save_file({**tensors, "lm_head.weight": half}, tmp_path / "model" / "model.safetensors")
    assert read().parameters == PARAMETERS
    half[0, 0] += 1
    save_file({**tensors, "lm_head.weight": half}, tmp_path / "model" / "model.safetensors")
    assert read().parameters == PARAMETERS + VOCABULARY * HIDDEN


def test_a_head_of_another_size_does_not_fit(tmp_path: Path, read: Callable[[], Model]) -> None:
    write_llama(tmp_path / "model")
    head = np.zeros((VOCABULARY - 1, HIDDEN), np.float32)
    save_file({**llama_tensors(), "lm_head.weight": head}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(InputError, match=r"lm_head\.weight is 299 x 8, config\.json says 300 x 8"):
        read()


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": [7, 2]}, 0, (2, 7)),
        ({}, [5], (5,)),
        ({"eos_token_id": 50256}, 1, (1,)),  # outside the vocabulary
        ({}, 50256, (256,)),  # then by the tokenizer's name for it
        ({}, None, (256,)),
    ],
)
def test_end_of_sequence_ids(
    tmp_path: Path, read: Callable[[], Model], generation: object, config: object, expected: tuple[int, ...]
) -> None:
    folder = write_llama(tmp_path / "model", eos_token_id=config)
    (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<s>"}}))
    assert read().eos_ids == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vocab_size": VOCABULARY + 1}, r"model\.embed_tokens\.weight is 300 x 8, config\.json says 301 x 8"),
        ({"hidden_size": 16}, "300 x 16"),
        ({"num_hidden_layers": LAYERS + 1}, "have 2 layers, config.json says 3"),
        ({"tie_word_embeddings": False}, r"no lm_head\.weight"),
        ({"architectures": ["GPT2LMHeadModel"]}, r"no wte\.weight of GPT2LMHeadModel"),
        ({"vocab_size": None}, "no vocab_size"),
        ({"max_position_embeddings": None}, "no max_position_embeddings"),
        ({"vocab_size": "many"}, "not a positive integer"),
        ({"architectures": ["LlamaForCausalLN"]}, "unknown architecture"),
        ({"architectures": None, "model_type": "lama"}, "unknown model type"),
        ({"architectures": None, "model_type": None}, "neither"),
    ],
)
def test_weights_that_do_not_fit(
    tmp_path: Path, read: Callable[[], Model], changes: dict[str, Any], words: str
) -> None:
    write_llama(tmp_path / "model", **changes)
    with pytest.raises(InputError, match=words) as caught:
        read()
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_size": "8"}, "hidden_size in config.json is '8', not a positive integer"),
        ({"hidden_size": 8.0}, "hidden_size in config.json is 8.0, not a positive integer"),
        ({"num_attention_heads": [2]}, r"num_attention_heads in config.json is \[2\], not a positive integer"),
        (
            {"num_hidden_layers": 10**9},
            "num_hidden_layers in config.json is 1000000000, not a positive integer up to 1,000",
        ),
        ({"vocab_size": 10**400}, "vocab_size in config.json is an integer of more than 30 digits"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps in config.json is nan, not a finite number"),
        ({"rms_norm_eps": -1e-6}, "rms_norm_eps in config.json is -1e-06, not a finite number of at least 0"),
        ({"rope_theta": 0.0}, "rope_theta in config.json is 0.0, not a positive, finite number"),
        ({"rope_theta": float("inf")}, "rope_theta in config.json is inf"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings in config.json is 'false', not true or false"),
        ({"hidden_act": 5}, "hidden_act in config.json is 5, not text"),
        ({"rope_scaling": "linear"}, "rope_scaling in config.json is 'linear', not a table"),
        ({"rope_scaling": {"type": "linear", "factor": "4"}}, r"rope_scaling\.factor in config.json is '4'"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling in config.json is of type yarn and has no factor"),
        ({"rope_parameters": {"rope_theta": None}}, r"rope_parameters\.rope_theta in config.json is None"),
        ({"attention_bias": True}, r"attention_bias is true, the weights have no \*\.self_attn\.q_proj\.bias"),
    ],
)
def test_fields_of_the_wrong_type_or_value(
    tmp_path: Path, read: Callable[[], Model], changes: dict[str, Any], words: str
) -> None:
    write_llama(tmp_path / "model", **changes)
    with pytest.raises(InputError, match=words) as caught:
        read()
    assert caught.value.hint


def test_biases_that_the_configuration_does_not_know(tmp_path: Path, read: Callable[[], Model]) -> None:
    # transformers passes over them without a word, engines that read what is there would not.
    write_llama(tmp_path / "model")
    bias = {f"model.layers.{i}.self_attn.q_proj.bias": np.ones(HIDDEN, np.float32) for i in range(LAYERS)}
    save_file({**llama_tensors(), **bias}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(InputError, match=r"attention_bias is false, the weights have a \*\.self_attn\.q_proj\.bias"):
        read()


def test_a_field_that_is_null_counts_as_absent(tmp_path: Path, read: Callable[[], Model]) -> None:
    write_llama(tmp_path / "model", rope_scaling=None, head_dim=None, num_key_value_heads=None, sliding_window=None)
    assert read().parameters == PARAMETERS


def test_an_unknown_architecture_names_the_nearest(tmp_path: Path, read: Callable[[], Model]) -> None:
    write_llama(tmp_path / "model", architectures=["LlamaForCausalLN"])
    with pytest.raises(InputError) as caught:
        read()
    assert "LlamaForCausalLM" in caught.value.hint


def test_remote_code_and_quantised_weights_are_refused(tmp_path: Path, read: Callable[[], Model]) -> None:
    write_llama(tmp_path / "model", auto_map={"AutoModel": "m.M"})
    with pytest.raises(RefusedError, match="auto_map"):
        read()
    write_llama(tmp_path / "model", quantization_config={"bits": 4})
    with pytest.raises(RefusedError, match="quantised"):
        read()
    write_llama(tmp_path / "model")
    packed = {"model.layers.1.mlp.up_proj.qweight": np.zeros((2, 2), np.int32)}
    save_file({**llama_tensors(), **packed}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(RefusedError, match="I32"):
        read()


def test_an_unreadable_configuration(tmp_path: Path, read: Callable[[], Model]) -> None:
    folder = write_llama(tmp_path / "model")
    for content, words in ((b"{", "not JSON"), (b"[]", "no table"), (b"\xff", "not JSON")):
        (folder / "config.json").write_bytes(content)
        with pytest.raises(InputError, match=words):
            read()
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json"):
        read()


def test_names_that_are_no_model(tmp_path: Path, cache: ArtefactCache) -> None:
    with pytest.raises(InputError, match="no folder"):
        resolve(str(tmp_path / "absent"), cache=cache)
    with pytest.raises(InputError, match=r"no folder \./absent"):
        resolve("./absent", cache=cache)
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(InputError, match="is a file"):
        resolve(str(file), cache=cache)
    with pytest.raises(InputError, match="unknown model 'pythia-41m'") as caught:
        resolve("pythia-41m", cache=cache)
    assert "pythia-410m" in caught.value.hint
    with pytest.raises(InputError, match="no revisions"):
        resolve(str(write_llama(tmp_path / "m")), revision="main", cache=cache)
    with pytest.raises(InputError, match="no name"):
        resolve("", cache=cache)


def test_bloom_has_a_context_without_saying_so(tmp_path: Path, read: Callable[[], Model]) -> None:
    config = {"architectures": ["BloomForCausalLM"], "vocab_size": 4, "hidden_size": 2, "n_layer": 1}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    tensors = {"word_embeddings.weight": np.ones((4, 2), np.float32), "h.0.mlp.weight": np.ones(2, np.float32)}
    save_file(tensors, tmp_path / "model" / "model.safetensors")
    assert read().context_length == 2048
    assert read().parameters == 10


def test_an_unwritable_memory_of_digests_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()  # a file where the folder should be
    folder = write_llama(tmp_path / "model")
    with ArtefactCache(tmp_path / "cache", 10**9) as cache:
        assert resolve(str(folder), cache=cache).parameters == PARAMETERS
