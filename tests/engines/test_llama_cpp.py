from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from servewatt import engines
from servewatt.engines import Session
from servewatt.engines.llama_cpp import engine as engine_module
from servewatt.engines.llama_cpp import library as library_module
from servewatt.engines.llama_cpp.library import LOG, Capacity, load_model
from servewatt.engines.proof import violations
from servewatt.errors import InputError, RefusedError, UnavailableError
from servewatt.records import Configuration, Model, Precision, Provider
from tests.engines.conftest import NEW_TOKENS
from tests.engines.libraries import require, with_session
from tests.engines.tiny import (
    SIZES,
    FolderArtefacts,
    closest_calls,
    model_of,
    random_prompts,
    session_generate,
    transformers_generate,
    transformers_log_probabilities,
    write_model,
)

require("llama-cpp")
pytestmark = pytest.mark.engine

Load = Callable[[Model, Configuration], Session]


def configured(precision: Precision = Precision.FP32, **options: str) -> Configuration:
    return Configuration("llama-cpp", precision=precision, threads=1, options=tuple(options.items()))


@pytest.mark.parametrize("kind", [*SIZES, "bundled"])
def test_same_tokens_as_transformers(
    kind: str,
    folder_of: Callable[[str], Path],
    prompts_of: Callable[[str], list[list[int]]],
    expected: Callable[[str, int], list[list[int]]],
    load: Load,
) -> None:
    """Token for token where all is fp32; where the GELU is rounded to fp16, up to choices that are all but ties."""
    session = load(model_of(folder_of(kind)), configured())
    for batch in (1, 4):
        got = session_generate(session, prompts_of(kind), NEW_TOKENS, batch)
        if kind in ("llama", "bundled"):
            assert got == expected(kind, batch), f"batch {batch}"
        gaps = closest_calls(folder_of(kind), prompts_of(kind), expected(kind, batch), got)
        assert len(gaps) <= 4
        assert all(gap < 0.02 for gap in gaps), gaps
    gelu = dict(session.facts().detail)["gelu"]
    assert gelu == ("none" if kind in ("llama", "bundled") else "tanh, from a table of fp16")
    session.close()


def test_attention_scaled_by_layer(tmp_path: Path) -> None:
    """codeparrot-small divides the scores of layer i by i + 1."""
    folder = write_model(tmp_path / "scaled", "gpt2", scale_attn_by_inverse_layer_idx=True)
    session = engines.create("llama-cpp").load(model_of(folder), configured(), FolderArtefacts(tmp_path))
    expected = transformers_generate(folder, random_prompts(4), 32, 1)
    got = session_generate(session, random_prompts(4), 32, 1)
    assert all(gap < 0.02 for gap in closest_calls(folder, random_prompts(4), expected, got))
    session.close()


@pytest.mark.parametrize(("kind", "most"), [(kind, 1e-4 if kind == "llama" else 0.01) for kind in SIZES])
def test_log_probabilities_are_those_of_transformers(
    kind: str, most: float, folder_of: Callable[[str], Path], load: Load
) -> None:
    rows = [*random_prompts(3, seed=5), [7, *range(3, 150)], [5]]
    session = load(model_of(folder_of(kind)), configured())
    got = session.log_probabilities(rows)
    for ours, theirs in zip(got, transformers_log_probabilities(folder_of(kind), rows), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=most)
    session.close()


@pytest.mark.parametrize(
    ("configuration", "compute", "cache"),
    [
        (configured(), "fp32", "fp32"),
        (configured(Precision.BF16), "bf16", "bf16"),
        (configured(Precision.FP16), "fp16", "fp16"),
        (configured(Precision.W8A8), "int8", "fp16"),
        (configured(Precision.INT4), "int8", "fp16"),
        (configured(Precision.INT4, activations="int8"), "int8", "fp16"),
        (configured(Precision.INT4, cache="fp32", attention="plain"), "int8", "fp32"),
    ],
    ids=lambda value: value.key if isinstance(value, Configuration) else value,
)
def test_a_loaded_engine_shows_what_runs(
    configuration: Configuration, compute: str, cache: str, model: Model, load: Load
) -> None:
    session = load(model, configuration)
    assert not session.facts().kv_cache, "no decode step has been seen yet"
    list(session.generate(random_prompts(2), 4))
    session.synchronize()
    facts = session.facts()
    assert facts.devices == (("cpu", 3),), "two layers and the output projection"
    assert (facts.compute_dtype, facts.kv_cache, facts.kv_cache_dtype, facts.threads) == (compute, True, cache, 1)
    assert violations(configuration, facts) == ()
    detail = dict(facts.detail)
    assert detail["attention"] == (
        "flash" if configuration.precision is not Precision.FP32 and cache != "fp32" else "plain"
    )
    assert detail.get("group") == (None if configuration.precision.is_floating else "32")
    # What llama.cpp says of the model it loaded is what the file holds.
    assert int(detail["model_bytes"]) == sum(size for _, size in facts.weight_dtypes)
    assert session.peak_device_bytes() is None
    session.close()


def test_bytes_of_each_type(model: Model, load: Load) -> None:
    """A tiny Llama: 311 tokens, 64 wide, two layers of 4 query and 2 key-value heads, 128 inner, its own head."""
    matrices = 2 * 311 * 64 + 2 * (64 * 64 * 2 + 2 * 32 * 64 + 3 * 64 * 128)
    vectors = 5 * 64
    expected = {
        Precision.FP32: {"fp32": 4 * (matrices + vectors)},
        Precision.BF16: {"bf16": 2 * matrices, "fp32": 4 * vectors},
        Precision.W8A8: {"int8": matrices, "fp16": 2 * matrices // 32, "fp32": 4 * vectors},
        Precision.INT4: {"int4": matrices // 2, "fp16": 2 * matrices // 32, "fp32": 4 * vectors},
    }
    for precision, sizes in expected.items():
        session = load(model, configured(precision))
        assert dict(session.facts().weight_dtypes) == sizes
        session.close()


def test_narrow_weights_stay_close(
    folder_of: Callable[[str], Path], prompts_of: Callable[[str], list[list[int]]], load: Load
) -> None:
    """On the bundled model, by the loss on its own problems."""
    model, rows = model_of(folder_of("bundled")), prompts_of("bundled")[:6]
    loss = {}
    for precision in (Precision.FP32, Precision.BF16, Precision.FP16, Precision.W8A8, Precision.INT4):
        session = load(model, configured(precision))
        loss[precision] = -np.mean([value for row in session.log_probabilities(rows) for value in row])
        assert len(session_generate(session, rows, 8, 3)) == 6
        session.close()
    tolerances = {Precision.BF16: 0.02, Precision.FP16: 0.005, Precision.W8A8: 0.02, Precision.INT4: 0.1}
    for precision, most in tolerances.items():
        assert math.isclose(loss[precision], loss[Precision.FP32], rel_tol=most), precision


def test_q4_k_wants_rows_of_256(model: Model, tmp_path: Path, load: Load) -> None:
    with pytest.raises(RefusedError, match="multiples of 256") as refused:
        load(model, configured(Precision.INT4, format="q4_k"))
    assert "q4_0" in refused.value.hint
    wide = model_of(write_model(tmp_path / "wide", "llama", hidden_size=256, intermediate_size=256))
    session = load(wide, configured(Precision.INT4, format="q4_k"))
    list(session.generate(random_prompts(2), 4))
    facts = session.facts()
    sizes = dict(facts.weight_dtypes)
    # 256 weights: 128 bytes of int4, 12 of 6-bit scales and minima, 2 fp16.
    assert sizes["int4"] // 128 == sizes["int6"] // 12 == sizes["fp16"] // 4
    assert violations(configured(Precision.INT4, format="q4_k"), facts) == ()
    session.close()


def test_the_file_is_written_once(model: Model, tmp_path: Path) -> None:
    artefacts = FolderArtefacts(tmp_path)
    for configuration in (configured(), configured(), configured(Precision.W8A8)):
        engines.create("llama-cpp").load(model, configuration, artefacts).close()
    assert artefacts.built == ["gguf", "gguf"]


def test_what_it_cannot_do_is_refused(folder_of: Callable[[str], Path], tmp_path: Path, load: Load) -> None:
    model = model_of(folder_of("llama"))
    for configuration, reason in (
        (configured(Precision.INT8), "rounds activations"),
        (configured(activations="int8"), "w8a8 and int4"),
        (configured(attention="flash"), "fp16"),
        (configured(Precision.W8A8, format="q4_0"), "int4"),
    ):
        with pytest.raises(RefusedError, match=reason):
            load(model, configuration)
    for change, reason in (
        ({"architectures": ["CodeGenForCausalLM"]}, "no CodeGenForCausalLM"),
        ({"hidden_act": "relu"}, "activation 'relu'"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 4.0}}, "'dynamic'"),
    ):
        folder = Path(shutil.copytree(folder_of("llama"), tmp_path / reason.replace(" ", "-")))
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(RefusedError, match=reason):
            load(model_of(folder), configured())


def test_broken_files(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    model, artefacts = model_of(folder_of("llama")), FolderArtefacts(tmp_path / "artefacts")
    engine = engines.create("llama-cpp")
    engine.prepare(model, configured(), artefacts)
    (path,) = tmp_path.rglob("*.gguf")
    whole = path.read_bytes()
    for content in (whole[:-5000], b"GGUF" + bytes(100), b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"model\.gguf: llama\.cpp cannot load it: .+"):
            engine.load(model, configured(), artefacts)

    folder = Path(shutil.copytree(folder_of("llama"), tmp_path / "other"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(InputError, match=r"weights are missing .*model\.layers\.2"):
        engine.load(model_of(folder), configured(), FolderArtefacts(tmp_path / "more"))


def test_more_positions_or_rows_than_there_are(folder_of: Callable[[str], Path], load: Load) -> None:
    session = load(model_of(folder_of("gpt2")), configured())
    with pytest.raises(InputError, match="256 positions"):
        next(session.generate([[3] * 200], 100))
    with pytest.raises(RefusedError, match="at most 256 sequences"):
        next(session.generate([[3]] * 257, 2))
    with pytest.raises(InputError, match=r"could not decode: .*99999") as refused:
        next(session.generate([[99999]], 2))
    assert "token id" in refused.value.hint
    with pytest.raises(InputError, match="88888"):  # and not what was wrong before
        next(session.generate([[88888]], 2))
    session.close()


def test_cuda_that_is_not_there(model: Model, load: Load) -> None:
    from llama_cpp import llama_cpp

    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("there is CUDA here")
    with pytest.raises(UnavailableError, match="without CUDA") as error:
        load(model, Configuration("llama-cpp", Provider.CUDA, Precision.BF16))
    assert "GGML_CUDA=ON" in error.value.hint


def test_a_build_for_cuda_that_finds_no_device(model: Model, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_cpp import llama_cpp

    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: False)
    monkeypatch.setattr("servewatt.engines.llama_cpp.engine.is_built_for_cuda", lambda: True)
    with pytest.raises(UnavailableError, match="no CUDA device"):
        load(model, Configuration("llama-cpp", Provider.CUDA, Precision.BF16))


class FakeLlama:
    """llama.cpp that notes how it is asked to load, says `lines`, and loads what `lines` tell; or fails if told to."""

    LLAMA_SPLIT_MODE_NONE = 0
    LLAMA_LOAD_MODE_MMAP = 7

    def __init__(self, *lines: str, fails: bool = False) -> None:
        self.asked = SimpleNamespace(split_mode=1, main_gpu=99)
        self._lines, self._fails = lines, fails

    def llama_model_default_params(self) -> Any:
        return self.asked

    def llama_model_load_from_file(self, path: bytes, params: Any) -> object | None:
        for line in self._lines:
            LOG.write(2, line + "\n")
        return None if self._fails else object()

    def llama_model_get_vocab(self, handle: object) -> object:
        return handle

    def llama_vocab_n_tokens(self, vocabulary: object) -> int:
        return 311


def test_one_gpu_holds_the_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    assigned = "load_tensors: layer   {} assigned to device CUDA{}, is_swa = 0"
    llama = FakeLlama(assigned.format(0, 0), assigned.format(1, 0), assigned.format(2, 0))
    monkeypatch.setattr(library_module, "library", lambda: llama)
    assert load_model(Path("model.gguf"), on_gpu=True).layers == (("cuda", 3),)
    assert (llama.asked.n_gpu_layers, llama.asked.split_mode, llama.asked.main_gpu) == (-1, 0, 0)

    load_model(Path("model.gguf"), on_gpu=False)
    assert (llama.asked.n_gpu_layers, llama.asked.main_gpu) == (0, -1), "no GPU takes part where the CPU is asked for"


def test_a_second_gpu_does_not_pass_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assigned = "load_tensors: layer   {} assigned to device CUDA{}, is_swa = 0"
    llama = FakeLlama(assigned.format(0, 0), assigned.format(1, 1))
    monkeypatch.setattr(library_module, "library", lambda: llama)
    assert load_model(Path("model.gguf"), on_gpu=True).layers == (("cuda", 1), ("cuda1", 1))


def test_no_memory_for_the_weights_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    llama = FakeLlama(
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: cudaMalloc failed: "
        "out of memory",
        "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
        fails=True,
    )
    monkeypatch.setattr(library_module, "library", lambda: llama)
    with pytest.raises(MemoryError, match=r"lacks memory for the weights: allocating 9000\.00 MiB on device 0"):
        load_model(Path("model.gguf"), on_gpu=True)


def test_no_memory_for_a_context_is_out_of_memory(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """By llama.cpp itself, in a process that may take 100 MiB more; the cache would take 512."""
    done = with_session(
        "import resource; used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize();"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20,) * 2);"
        "next(session.generate([[5]] * 64, 16000))",
        configured(),
        folder_of("llama"),
        tmp_path,
    )
    assert "MemoryError: llama.cpp lacks memory for a cache of 64 x 16001 tokens" in done.stderr


@pytest.mark.parametrize(
    ("status", "line", "error", "reason"),
    [
        (-2, "process_ubatch: failed to allocate graph", MemoryError, "lacks memory for decoding: failed to allocate"),
        (-3, "decode: failed to decode, compute status -3", RuntimeError, r"\(status -3\): failed to decode"),
        (1, "decode: failed to find a memory slot for batch of size 9", RuntimeError, r"\(status 1\): .*memory slot"),
    ],
)
def test_a_decode_that_fails_does_not_blame_token_ids(
    status: int,
    line: str,
    error: type[Exception],
    reason: str,
    model: Model,
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = load(model, configured())
    next(session.generate([[5, 6]], 2))

    def fail(context: object, batch: object) -> int:
        LOG.write(4, line + "\n")
        return status

    monkeypatch.setattr(library_module.library(), "llama_decode", fail)
    with pytest.raises(error, match=reason):
        next(session.generate([[5, 6]], 2))
    session.close()


def test_room_kept_for_earlier_requests_is_given_up_where_memory_lacks(
    model: Model, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = load(model, configured())
    next(session.generate([[5]] * 4, 200))
    make, asked = library_module.new_context, []

    def scarce(loaded: Any, capacity: Capacity, options: Any) -> Any:
        asked.append((capacity.rows, capacity.tokens_per_row))
        if capacity.rows * capacity.tokens_per_row > 600:
            raise MemoryError("llama.cpp lacks memory for a cache")
        return make(loaded, capacity, options)

    monkeypatch.setattr(engine_module, "new_context", scarce)
    next(session.generate([[5]] * 2, 255))
    assert asked == [(4, 256), (2, 256)]
    with pytest.raises(MemoryError, match="lacks memory"):
        next(session.generate([[5]] * 8, 200))
    session.close()


def test_a_long_row_does_not_lengthen_every_row_of_a_batch() -> None:
    batch, text = Capacity(64, 200, 6400), Capacity(1, 2048, 64)
    assert text.joined(batch) == text
    assert batch.joined(text) == batch
    assert Capacity(64, 500, 100).joined(batch) == Capacity(64, 500, 6400), "as many rows grow together"
    assert Capacity(2, 512, 100).joined(Capacity(4, 256, 900)) == Capacity(4, 512, 900), "2048 cells, and 1024 each"
    assert Capacity(2, 513, 100).joined(Capacity(4, 256, 900)) == Capacity(2, 513, 100), "3072 cells; 1536 and 1024"
