"""The engine ctranslate2: what it says beyond what the tests of all engines ask, what it shows, what it refuses."""

from __future__ import annotations

import ctypes
import json
import math
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from servewatt.engines import Session
from servewatt.engines.ctranslate2.engine import CTranslate2Engine
from servewatt.engines.proof import violations
from servewatt.errors import InputError, RefusedError, UnavailableError
from servewatt.records import Configuration, Model, Precision, Provider
from tests.engines.libraries import require, variables
from tests.engines.tiny import (
    FolderArtefacts,
    model_of,
    random_prompts,
    session_generate,
    transformers_generate,
    write_model,
)

require("ctranslate2")
pytestmark = pytest.mark.engine

FP32 = Configuration("ctranslate2", threads=1)
W8A8 = Configuration("ctranslate2", precision=Precision.W8A8, threads=1)
Load = Callable[[Model, Configuration], Session]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True, "n_inner": 96}),
        ("gpt_neox", {"use_parallel_residual": False, "attention_bias": False}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0}}),
        ("llama", {"head_dim": 32, "attention_bias": True, "tie_word_embeddings": True}),
    ],
)
def test_same_tokens_for_variants(kind: str, changes: dict[str, Any], tmp_path: Path, load: Load) -> None:
    folder = write_model(tmp_path / kind, kind, **changes)
    session = load(model_of(folder), FP32)
    prompts = random_prompts(4)
    assert session_generate(session, prompts, 32, 4) == transformers_generate(folder, prompts, 32, 4)
    session.close()


def test_prompts_of_one_token_and_of_many_in_one_batch(
    model: Model, folder_of: Callable[[str], Path], load: Load
) -> None:
    prompts = [[5], [7, 8, 9, 10, 11], [6, 5]]
    session = load(model, FP32)
    assert session_generate(session, prompts, 12, 3) == transformers_generate(folder_of("llama"), prompts, 12, 3)
    assert session_generate(session, [[5]], 12, 1) == transformers_generate(folder_of("llama"), [[5]], 12, 1)
    session.close()


def test_fp32_shows_what_runs(model: Model, load: Load) -> None:
    session = load(model, FP32)
    assert not session.facts().kv_cache, "no decode step has been seen yet"
    list(session.generate(random_prompts(2), 4))
    facts = session.facts()
    # 4 bytes for each number in the file, whose header is about 3 kB.
    ((dtype, held),) = facts.weight_dtypes
    assert dtype == "fp32"
    assert 0.98 * model.weight_bytes < held <= model.weight_bytes
    assert (facts.compute_dtype, facts.kv_cache, facts.kv_cache_dtype, facts.threads) == ("fp32", True, "fp32", 1)
    assert facts.devices[0][0] == "cpu"
    assert dict(facts.detail)["compute_type"] == "float32"
    assert violations(FP32, facts) == ()
    assert violations(W8A8, facts) != ()
    session.close()


def test_eight_bit_products_are_w8a8(folder_of: Callable[[str], Path], load: Load) -> None:
    model = model_of(folder_of("bundled"))
    prompt = [1, 2, 3, 4]
    exact = load(model, FP32)
    session = load(model, W8A8)
    assert len(list(session.generate([prompt], 4))) == 4
    facts = session.facts()
    assert (facts.compute_dtype, facts.kv_cache_dtype) == ("int8", "fp32")
    assert violations(W8A8, facts) == ()
    # 320 wide, 768 in the middle, 8 layers, 4096 tokens tied: a byte a number of the matrices.
    matrices = 4096 * 320 + 8 * (4 * 320 * 320 + 3 * 320 * 768)
    # A factor for each row, and 17 norms.
    factors = 4096 + 8 * (960 + 320 + 2 * 768 + 320)
    assert dict(facts.weight_dtypes) == {"int8": matrices, "fp32": 4 * (factors + 17 * 320)}
    rows = [random_prompts(1, seed=4)[0]]
    wide, narrow = exact.log_probabilities(rows)[0], session.log_probabilities(rows)[0]
    assert 0 < np.abs(np.array(wide) - np.array(narrow)).max() < 2
    exact.close()
    session.close()


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16, Precision.INT8, Precision.INT4])
def test_precisions_without_kernels_are_refused(precision: Precision, model: Model, load: Load) -> None:
    with pytest.raises(RefusedError) as error:
        load(model, replace(FP32, precision=precision))
    assert "w8a8" in error.value.hint


def test_a_type_that_this_processor_lacks_is_refused(model: Model, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    import ctranslate2

    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda _: {"float32"})
    with pytest.raises(RefusedError, match="no kernels for int8_float32 on this cpu") as error:
        load(model, W8A8)
    assert error.value.hint == "ctranslate2 computes here in float32"


def test_a_type_that_was_converted_is_refused(model: Model, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    import ctranslate2

    plain = ctranslate2.Generator

    def converting(folder: str, **arguments: Any) -> Any:
        return plain(folder, **(arguments | {"compute_type": "float32"}))

    monkeypatch.setattr(ctranslate2, "Generator", converting)
    with pytest.raises(RefusedError, match="computes in float32, not in int8_float32"):
        load(model, W8A8)


def test_cuda_that_is_not_there(model: Model, load: Load) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is CUDA here")
    with pytest.raises(UnavailableError, match="no CUDA device"):
        load(model, Configuration("ctranslate2", Provider.CUDA))


@pytest.mark.parametrize("code", [0, 700])
def test_the_copies_to_a_gpu_are_waited_for(
    code: int, model: Model, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctranslate2

    from servewatt.engines.ctranslate2 import engine

    plain, seen = ctranslate2.Generator, []

    def wait() -> int:
        seen.append("waited")
        return code

    def loading(folder: str, **arguments: Any) -> Any:
        seen.append("loaded")
        # The driver's context is the calling thread's.
        assert threading.current_thread() is threading.main_thread()
        return plain(folder, **(arguments | {"device": "cpu"}))

    monkeypatch.setattr(ctranslate2, "Generator", loading)
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda _: {"float32"})
    monkeypatch.setattr(engine, "load_libraries", lambda *_: None)
    library, driver = ctypes.CDLL, SimpleNamespace(cuCtxSynchronize=wait)

    def driver_or_library(name: str | None, *arguments: Any, **named: Any) -> Any:
        return driver if name == "libcuda.so.1" else library(name, *arguments, **named)

    monkeypatch.setattr(ctypes, "CDLL", driver_or_library)
    configuration = Configuration("ctranslate2", Provider.CUDA, threads=1)
    if code:
        with pytest.raises(UnavailableError, match="CUDA error 700"):
            load(model, configuration)
    else:
        load(model, configuration)
    assert seen == ["loaded", "waited"]


def test_option_floating_belongs_to_w8a8_on_cuda(model: Model, load: Load) -> None:
    for configuration in (FP32, W8A8):
        with pytest.raises(RefusedError):
            load(model, replace(configuration, options=(("floating", "bf16"),)))


@pytest.fixture
def changed(folder_of: Callable[[str], Path], tmp_path: Path) -> Callable[..., Model]:
    """A tiny Llama whose config.json says something else."""

    def make(**changes: object) -> Model:
        folder = Path(shutil.copytree(folder_of("llama"), tmp_path / "changed"))
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))
        return model_of(folder)

    return make


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architectures": ["AbacusForCausalLM"]}, "does not run AbacusForCausalLM"),
        ({"hidden_act": "mish"}, "no activation 'mish'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "no rotary embeddings of type 'yarn'"),
    ],
)
def test_what_it_cannot_write_is_refused(
    changes: dict[str, object], sentence: str, changed: Callable[..., Model], load: Load
) -> None:
    with pytest.raises(RefusedError, match=sentence):
        load(changed(**changes), FP32)


def test_weights_of_another_model(changed: Callable[..., Model], load: Load) -> None:
    with pytest.raises(InputError, match=r"weights are missing .*model\.layers\.2"):
        load(changed(num_hidden_layers=5), FP32)


def test_a_model_is_written_once_a_type(model: Model, tmp_path: Path) -> None:
    artefacts = FolderArtefacts(tmp_path)
    for configuration in (FP32, FP32, W8A8):
        CTranslate2Engine().prepare(model, configuration, artefacts)
    assert artefacts.built == ["ctranslate2", "ctranslate2"]
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {"model.bin", "config.json", "vocabulary.json"}


def in_a_process(code: str, folder: Path, artefacts: Path) -> tuple[int, str, str]:
    """Exit code, output and complaints of `code`, given a session of the model in `folder` with two threads."""
    begin = (
        "import sys; from pathlib import Path; from servewatt import engines; from tests.engines.tiny import *;"
        "from servewatt.records import Configuration;"
        "model = model_of(Path(sys.argv[1])); artefacts = FolderArtefacts(Path(sys.argv[2]));"
        "session = engines.create('ctranslate2').load(model, Configuration('ctranslate2', threads=2), artefacts);"
    )
    done = subprocess.run(
        [sys.executable, "-c", begin + code, str(folder), str(artefacts)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env=variables(),
    )
    return done.returncode, done.stdout, done.stderr


def test_a_process_that_leaves_a_session_open_ends_well(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """A generator that outlives the interpreter aborts it."""
    code = "print(len(list(session.generate([[5, 6]], 3))))"
    assert in_a_process(code, folder_of("llama"), tmp_path) == (0, "3\n", "")


def test_threads_are_those_of_the_thread_that_decodes(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """In a process of its own, as OMP_NUM_THREADS, which tests side by side set, would overrule what was asked."""
    code = "list(session.generate([[5, 6]], 3)); print(session.facts().threads)"
    assert in_a_process(code, folder_of("llama"), tmp_path) == (0, "2\n", "")


def test_loading_leaves_no_threads_behind(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """OpenMP's of the loading thread would make more than there are CPUs, which then sleep at every barrier."""
    code = (
        "from servewatt.engines.shared.host import thread_count; from servewatt.records import Precision;"
        "session.close(); before = thread_count();"
        "narrow = Configuration('ctranslate2', precision=Precision.W8A8, threads=2);"
        "session = engines.create('ctranslate2').load(model, narrow, artefacts);"
        "import time; end_s = time.monotonic() + 10\n"
        "while (left := thread_count() - before) > 1 and time.monotonic() < end_s: time.sleep(0.01)\n"
        "print(left)"
    )
    # The thread that decodes stays; the others take a moment to end.
    assert in_a_process(code, folder_of("bundled"), tmp_path) == (0, "1\n", "")


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from servewatt import engines; engines.create('ctranslate2');"
        "print([m for m in ('torch', 'transformers', 'ctranslate2') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_bf16_is_rounded_to_nearest_when_it_is_written(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """What a GPU would load, read back by hand."""
    from servewatt.engines.ctranslate2.export import ModelType, export
    from servewatt.engines.ctranslate2.model import held_weights

    model = model_of(folder_of("llama"))
    export(model, ModelType("bf16"), tmp_path)
    ((dtype, held),) = held_weights(tmp_path / "model.bin").dtypes
    assert dtype == "bf16"
    assert math.isclose(held, model.weight_bytes / 2, rel_tol=0.02)
