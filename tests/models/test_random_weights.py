from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from servewatt.checkpoints.safetensors import read_header
from servewatt.errors import InputError
from servewatt.models import random_weights
from servewatt.models.cache import ArtefactCache
from servewatt.models.catalogue import CATALOGUE
from servewatt.models.random_weights import Shape, parameter_shapes, write_checkpoint
from servewatt.models.resolve import resolve
from servewatt.models.tokenizer import load
from servewatt.records import ModelSource, Precision, Weights
from tests.models.tiny import LLAMA, PARAMETERS, write_llama

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY = {
    "hidden_size": 16,
    "n_embd": 16,
    "intermediate_size": 32,
    "n_inner": 32,
    "num_hidden_layers": 2,
    "n_layer": 2,
    "num_attention_heads": 2,
    "n_head": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 40,
    "max_position_embeddings": 64,
    "n_positions": 64,
    "n_ctx": 64,
    "eos_token_id": 3,
    "bos_token_id": 3,
}


def small(name: str) -> dict[str, Any]:
    """A catalogue configuration made small."""
    config = dict(CATALOGUE[name].config)
    config.update({key: value for key, value in TINY.items() if key in config})
    if name == "phi2":
        config["num_key_value_heads"] = 2
        config["partial_rotary_factor"] = 0.5
    return config


@pytest.mark.parametrize(
    "name", ["codeparrot-small", "tiny-starcoder", "pythia-410m", "bloomz-560m", "tinyllama", "codegemma-2b", "phi2"]
)
def test_transformers_loads_every_tensor(name: str, tmp_path: Path) -> None:
    config = small(name)
    write_checkpoint(tmp_path, config, parameter_shapes(config), seed=1)
    model, loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not loaded["missing_keys"]
    assert not loaded["unexpected_keys"]
    for parameter_name, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        if parameter_name.endswith("bias"):
            assert not values.any()
        elif values.ndim == 1:
            assert (values == 1).all()
        else:
            assert values.std() == pytest.approx(0.02, rel=0.3)
            assert np.count_nonzero(values) == values.size
    ids = model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=3, do_sample=False)
    assert ids.shape[1] > 3


def test_the_numbers_are_normal_and_stay_the_same(tmp_path: Path) -> None:
    large = Shape("a.weight", (5000, 1000))  # two chunks
    write_checkpoint(tmp_path, LLAMA, [large, Shape("a.bias", (3,)), Shape("norm.weight", (2,))], seed=7)
    stored = load_file(tmp_path / "model.safetensors")
    values = stored["a.weight"]
    assert values.mean() == pytest.approx(0, abs=5e-5)
    assert values.std() == pytest.approx(0.02, rel=2e-3)
    assert abs(np.corrcoef(values[:2500].ravel(), values[2500:].ravel())[0, 1]) < 3e-3
    assert stored["a.bias"].tolist() == [0, 0, 0]
    assert stored["norm.weight"].tolist() == [1, 1]
    # Recorded once: a change of numpy or of ours that moves them must become a new scheme.
    assert values[0, :4] == pytest.approx(FIRST, rel=1e-6)


def test_order_and_threads_do_not_matter(tmp_path: Path) -> None:
    shapes = [Shape("a.weight", (3000, 2000)), Shape("b.weight", (40, 5))]
    for name, order, threads in (("one", shapes, 1), ("two", shapes[::-1], 3)):
        (tmp_path / name).mkdir()
        write_checkpoint(tmp_path / name, LLAMA, order, seed=0, threads=threads)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert (one["a.weight"] == two["a.weight"]).all()
    assert (one["b.weight"] == two["b.weight"]).all()
    assert not (one["a.weight"][:40, :5] == one["b.weight"]).any()


@pytest.mark.parametrize(("precision", "dtype"), [(Precision.BF16, "bfloat16"), (Precision.FP16, "float16")])
def test_half_precision_is_the_rounded_fp32(tmp_path: Path, precision: Precision, dtype: str) -> None:
    shapes = [Shape("a.weight", (100, 100)), Shape("norm.weight", (3,))]
    for name, kind in (("full", Precision.FP32), ("half", precision)):
        (tmp_path / name).mkdir()
        write_checkpoint(tmp_path / name, LLAMA, shapes, seed=0, precision=kind)
    with (
        safe_open(tmp_path / "full" / "model.safetensors", "pt") as full,
        safe_open(tmp_path / "half" / "model.safetensors", "pt") as half,
    ):
        for shape in shapes:
            expected = full.get_tensor(shape.name).to(getattr(torch, dtype))
            assert torch.equal(half.get_tensor(shape.name), expected)


def test_memory_stays_far_below_the_checkpoint(tmp_path: Path) -> None:
    code = f"""
import resource
from pathlib import Path
import numpy
from servewatt.models.random_weights import Shape, write_checkpoint
from tests.models.tiny import LLAMA
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_checkpoint(Path({str(tmp_path)!r}), LLAMA, [Shape("a.weight", (120_000, 1000))], seed=0, threads=2)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
assert grown < 160_000_000, grown  # of 480 MB
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_random_model_is_drawn_once(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "model")
    with ArtefactCache(tmp_path / "cache", 10**9) as cache:
        model = resolve(str(folder), weights=Weights.RANDOM, seed=3, cache=cache)
        assert (model.source, model.weights, model.seed, model.name) == (
            ModelSource.RANDOM,
            Weights.RANDOM,
            3,
            "model",
        )
        assert (model.parameters, model.weight_bytes) == (PARAMETERS, 4 * PARAMETERS)
        drawn = (Path(model.folder) / "model.safetensors").stat().st_mtime_ns
        assert resolve(str(folder), weights=Weights.RANDOM, seed=3, cache=cache) == model
        assert (Path(model.folder) / "model.safetensors").stat().st_mtime_ns == drawn
        other = resolve(str(folder), weights=Weights.RANDOM, seed=4, cache=cache)
        assert other.revision != model.revision
        half = resolve(str(folder), weights=Weights.RANDOM, seed=3, cache=cache, precision=Precision.BF16)
        assert half.revision != model.revision
        assert half.weight_bytes == 2 * PARAMETERS
        assert {t.dtype for t in read_header(Path(half.folder) / "model.safetensors")} == {"BF16"}


def test_what_is_only_planned_is_described_and_not_drawn(tmp_path: Path) -> None:
    with ArtefactCache(tmp_path / "cache") as cache:
        planned = resolve("phi2", weights=Weights.RANDOM, cache=cache, draw=False)
        assert (planned.parameters, planned.weight_bytes) == (2_779_683_840, 4 * 2_779_683_840)
        assert not list(tmp_path.rglob("*.safetensors"))
        assert load(planned).encode("x = 1")


def test_what_is_planned_is_what_is_drawn(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "model")
    with ArtefactCache(tmp_path / "cache") as cache:
        planned = resolve(str(folder), weights=Weights.RANDOM, seed=3, cache=cache, draw=False)
        drawn = resolve(str(folder), weights=Weights.RANDOM, seed=3, cache=cache)
        assert planned.folder != drawn.folder
        assert replace(planned, folder=drawn.folder) == drawn
        assert resolve(str(folder), weights=Weights.RANDOM, seed=3, cache=cache, draw=False) == drawn


def test_a_configuration_that_makes_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json makes no LlamaForCausalLM"):
        random_weights.parameter_shapes({**LLAMA, "num_attention_heads": "two"})


FIRST = [-0.0202305317, 0.00560062751, 0.0149722975, 0.0208207909]
