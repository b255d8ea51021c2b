"""The shape of models whose run did not record it."""

from __future__ import annotations

from dataclasses import replace

from servewatt.models.catalogue import BUNDLED, CATALOGUE
from servewatt.models.folder import describe
from servewatt.models.shape import known_shape, shape_of
from servewatt.models.tokenizer import BUNDLED_FOLDER
from servewatt.records import Model, ModelSource, Weights

OLD = Model(
    name="pythia-410m",
    source=ModelSource.RANDOM,
    folder="/elsewhere",
    revision="0",
    architecture="GPTNeoXForCausalLM",
    weights=Weights.RANDOM,
    parameters=405_334_016,
    weight_bytes=1,
    vocabulary_size=50304,
    context_length=2048,
)


def test_a_model_s_record_has_its_shape() -> None:
    model = describe(BUNDLED_FOLDER, BUNDLED, ModelSource.BUNDLED, revision="-")
    assert model.shape is not None
    assert model.shape.vocabulary_size == model.vocabulary_size
    assert known_shape(replace(model, shape=None)) == model.shape


def test_a_window_of_no_tokens_or_out_of_use_is_none() -> None:
    config = {"model_type": "qwen2", "vocab_size": 8, "hidden_size": 4, "num_hidden_layers": 1, "sliding_window": 3}
    config |= {"num_attention_heads": 2, "intermediate_size": 4, "use_sliding_window": True, "max_window_layers": 0}
    windows = [shape_of({**config, **more}) for more in ({}, {"use_sliding_window": False}, {"sliding_window": 0})]
    assert [shape.window for shape in windows if shape is not None] == [3, None, None]


def test_a_model_of_the_catalogue_is_known_by_name_and_size() -> None:
    assert known_shape(OLD) == shape_of(CATALOGUE["pythia-410m"].config)
    assert known_shape(replace(OLD, name="EleutherAI/pythia-410m")) is not None
    assert known_shape(replace(OLD, parameters=1)) is None
    assert known_shape(replace(OLD, name="another")) is None
