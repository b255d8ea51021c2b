from __future__ import annotations

import re

import pytest

from servewatt.checkpoints.architecture import ARCHITECTURES, Architecture
from servewatt.models import random_weights
from servewatt.models.catalogue import CATALOGUE, find
from servewatt.models.catalogue_entry import CatalogueEntry
from servewatt.models.catalogue_recent import PRESENT
from servewatt.models.shape import shape_of

pytest.importorskip("transformers")

# name, hub id, architecture, parameters, as the study publishes them
STUDY = """
codeparrot-small codeparrot/codeparrot-small GPT2LMHeadModel 110e6
tiny-starcoder bigcode/tiny_starcoder_py GPTBigCodeForCausalLM 164e6
pythia-410m EleutherAI/pythia-410m GPTNeoXForCausalLM 405e6
bloomz-560m bigscience/bloomz-560m BloomForCausalLM 559e6
starcoderbase-1b bigcode/starcoderbase-1b GPTBigCodeForCausalLM 1.14e9
bloomz-1b1 bigscience/bloomz-1b1 BloomForCausalLM 1.07e9
tinyllama TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T LlamaForCausalLM 1.10e9
pythia1-4b EleutherAI/pythia-1.4b GPTNeoXForCausalLM 1.41e9
codegemma-2b google/codegemma-2b GemmaForCausalLM 2.51e9
phi2 microsoft/phi-2 PhiForCausalLM 2.78e9
stablecode-3b stabilityai/stablecode-instruct-alpha-3b GPTNeoXForCausalLM 3.31e9
stablecode-3b-completion stabilityai/stablecode-completion-alpha-3b-4k GPTNeoXForCausalLM 3.31e9
"""


def test_the_catalogue_is_the_studys_table() -> None:
    table = [line.split() for line in STUDY.strip().splitlines()]
    ours = [[e.name, e.hub_id, e.architecture, e.published_parameters] for e in CATALOGUE.values()]
    assert ours == [[*words, float(count)] for *words, count in table]
    assert {e.name for e in CATALOGUE.values() if e.gated} == {"starcoderbase-1b", "codegemma-2b", "stablecode-3b"}


def test_a_pinned_revision_is_a_whole_commit() -> None:
    pinned = [e.revision for e in CATALOGUE.values() if e.revision]
    assert len(pinned) == len(set(pinned)) == 7
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for commit in pinned)


def test_the_published_count_of_stablecode_is_its_weights_its_masks_and_its_rotary_frequencies() -> None:
    """The hub counts 3,306,181,952 elements: 2,769,311,040 floating ones and the masks."""
    for name in ("stablecode-3b", "stablecode-3b-completion"):
        entry = CATALOGUE[name]
        layers, heads, hidden, context = 32, 32, 2560, 4096
        frequencies = layers * (hidden // heads // 4) // 2  # a quarter of each head is rotary, two dimensions a turn
        assert entry.causal_mask_elements == layers * context**2
        assert entry.parameters + frequencies == 2_769_311_040
        assert entry.parameters + frequencies + entry.causal_mask_elements == 3_306_181_952


def test_the_size_of_a_published_file() -> None:
    """tiny_starcoder_py's safetensors is 656,601,304 bytes: its fp32 weights and a header of 24 kB."""
    assert 656_601_304 - 4 * CATALOGUE["tiny-starcoder"].parameters == 24_792


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda e: e.name)
def test_each_configuration_builds_the_published_shape(entry: CatalogueEntry) -> None:
    shapes = random_weights.parameter_shapes(entry.config)
    count = sum(shape.elements for shape in shapes)
    assert count == entry.parameters
    # The study took two models' stored causal masks for parameters; the count is right with them and only then.
    assert count + entry.causal_mask_elements == pytest.approx(entry.published_parameters, rel=0.01)
    names = [shape.name for shape in shapes]
    architecture = ARCHITECTURES[entry.architecture]
    assert len(names) == len(set(names))
    assert any(name.partition(".")[2] == architecture.embedding for name in names)
    assert (architecture.head in names) is not architecture.tied


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=lambda a: a.name)
def test_the_table_of_architectures_agrees_with_transformers(architecture: Architecture) -> None:
    layers = {"num_hidden_layers": 2, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = {"architectures": [architecture.name], "model_type": architecture.model_type, **layers}
    names = [shape.name for shape in random_weights.parameter_shapes(config)]
    assert any(name.partition(".")[2] == architecture.embedding for name in names)
    assert (architecture.head in names) is not architecture.tied
    numbers = {
        name.split(f".{architecture.layers}.")[1].split(".")[0] for name in names if ".0." in name or ".1." in name
    }
    assert numbers == {"0", "1"}


def test_rotary_settings_reach_the_model() -> None:
    from transformers import AutoConfig

    share = {"pythia-410m": 0.25, "phi2": 0.4, "stablecode-3b": 0.25}
    for name, expected in share.items():
        config = dict(CATALOGUE[name].config)
        built = AutoConfig.for_model(config.pop("model_type"), **config)
        assert built.rope_parameters["partial_rotary_factor"] == expected


def test_names_and_hub_ids_find_the_same_entry() -> None:
    assert find("phi2") is find("microsoft/phi-2") is find("Microsoft/Phi-2") is CATALOGUE["phi2"]
    assert find("phi-3") is None


@pytest.mark.parametrize("entry", PRESENT.values(), ids=lambda e: e.name)
def test_present_day_shapes_have_the_published_number_of_parameters(entry: CatalogueEntry) -> None:
    """Built on the meta device, which allocates nothing; every stored tensor once."""
    shapes = random_weights.parameter_shapes(entry.config)
    assert sum(shape.elements for shape in shapes) == entry.parameters
    shape = shape_of(entry.config)
    assert shape is not None
    assert find(entry.hub_id) is find(entry.name.upper()) is entry
    stored = {parameter.name: parameter.shape for parameter in shapes}
    down = next(size for name, size in stored.items() if name.endswith(("down_proj.weight", "mlp.c_proj.weight")))
    assert down == (shape.hidden_size, shape.feed_forward_size)
    assert entry.fim_tokens is None or len(set(entry.fim_tokens)) == 3
