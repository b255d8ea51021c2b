"""The engine vllm over a stand-in for vLLM: rows, steps, lengths, refusals and facts. The real one needs a GPU."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from servewatt import engines
from servewatt.engines.proof import violations
from servewatt.engines.vllm.engine import VllmEngine
from servewatt.engines.vllm.requirements import REQUIREMENTS
from servewatt.engines.vllm.session import VllmSession
from servewatt.errors import InputError, RefusedError, UnavailableError
from servewatt.harness.failure import describe_failure
from servewatt.records import Configuration, Model, Precision, Provider, Status
from tests.engines import fake_vllm
from tests.engines.fake_vllm import LLMEngine, logarithm, next_token
from tests.engines.tiny import FolderArtefacts, model_of

BF16 = Configuration("vllm", Provider.CUDA, Precision.BF16, threads=1)
PROMPTS = [[5, 6, 7], [9], [11, 3, 11, 4, 60], [8, 8]]
Load = Callable[..., VllmSession]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[LLMEngine]:
    return fake_vllm.install(monkeypatch)


@pytest.fixture(autouse=True)
def _state() -> Iterator[None]:
    """What loading sets for the whole process is set back."""
    variables, threads, grad = dict(os.environ), torch.get_num_threads(), torch.is_grad_enabled()
    cudnn = torch.backends.cuda.cudnn_sdp_enabled()
    yield
    os.environ.clear()
    os.environ.update(variables)
    torch.set_num_threads(threads)
    torch.set_grad_enabled(grad)
    torch.backends.cuda.enable_cudnn_sdp(cudnn)


@pytest.fixture
def small(tmp_path: Path) -> Model:
    """A folder that only says what it is; the fake reads nothing of it."""
    return described(tmp_path / "model", {"architectures": ["LlamaForCausalLM"]}, context=128)


@pytest.fixture
def load(fake: type[LLMEngine], small: Model, artefacts: FolderArtefacts) -> Load:
    def make(batch: int = 1, precision: Precision = Precision.BF16, **options: str) -> VllmSession:
        asked = replace(BF16, batch=batch, precision=precision, options=tuple(options.items()))
        session = VllmEngine().load(small, asked, artefacts)
        assert isinstance(session, VllmSession)
        return session

    return make


def described(folder: Path, config: dict[str, object], context: int) -> Model:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"vocab_size": fake_vllm.VOCABULARY, **config}))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return replace(model_of(folder), context_length=context)


def continued(prompt: Sequence[int], count: int) -> list[int]:
    """What the fake's model says after `prompt`."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("scheduling", ["async", "sync"])
def test_rows_keep_their_order_and_have_their_exact_length(load: Load, scheduling: str) -> None:
    session = load(4, scheduling=scheduling)
    for _ in range(2):
        steps = list(session.generate(PROMPTS, 9))
        assert [list(row) for row in zip(*(step.tokens for step in steps), strict=True)] == [
            continued(prompt, 9) for prompt in PROMPTS
        ]
        assert all(a.time_s <= b.time_s for a, b in pairwise(steps))


def test_one_engine_step_is_one_token_of_every_row(load: Load, fake: type[LLMEngine]) -> None:
    session = load(4)
    seen = [fake.started[0].steps for _ in session.generate(PROMPTS, 5)]
    # The first step only schedules: the second is under way before the ids of the first are there.
    assert seen == [2, 3, 4, 5, 6]


def test_prompts_that_take_several_engine_steps(load: Load, fake: type[LLMEngine]) -> None:
    session = load(4, scheduling="sync")
    fake.started[0].arguments.max_num_batched_tokens = 4
    steps = list(session.generate(PROMPTS, 6))
    assert [list(row) for row in zip(*(step.tokens for step in steps), strict=True)] == [
        continued(prompt, 6) for prompt in PROMPTS
    ]


def test_fewer_sequences_than_rows_let_the_others_in_as_rows_end(load: Load, fake: type[LLMEngine]) -> None:
    session = load(4, sequences="2")
    assert fake.started[0].arguments.max_num_seqs == 2
    steps = list(session.generate(PROMPTS, 3))
    assert [list(row) for row in zip(*(step.tokens for step in steps), strict=True)] == [
        continued(prompt, 3) for prompt in PROMPTS
    ]


@pytest.mark.parametrize("scheduling", ["async", "sync"])
def test_rows_end_at_a_stop_id_which_is_yielded(load: Load, scheduling: str) -> None:
    session = load(4, scheduling=scheduling)
    whole = [continued(prompt, 12) for prompt in PROMPTS]
    stop = whole[0][4]
    steps = [step.tokens for step in session.generate(PROMPTS, 12, frozenset({stop}))]
    for row, tokens in enumerate(whole):
        end = tokens.index(stop) + 1 if stop in tokens else 12
        said = [step[row] for step in steps]
        assert said == [*tokens[:end], *[None] * (len(steps) - end)]
    assert any(token is not None for token in steps[-1])


def test_a_generation_that_is_broken_off_leaves_nothing_to_the_next(load: Load, fake: type[LLMEngine]) -> None:
    session = load(4)
    half = session.generate(PROMPTS, 20)
    next(half), next(half)
    half.close()  # type: ignore[attr-defined]
    assert not fake.started[0].scheduler.running
    steps = list(session.generate(PROMPTS[:2], 3))
    assert [list(row) for row in zip(*(step.tokens for step in steps), strict=True)] == [
        continued(prompt, 3) for prompt in PROMPTS[:2]
    ]


def test_log_probabilities_of_rows_of_every_length(load: Load) -> None:
    session = load(2)
    rows = [[5, 6, 7, 1], [9], [], [11, 3]]
    assert session.log_probabilities(rows[:2]) == [
        [logarithm(6, 5), logarithm(7, 6), logarithm(1, 7)],
        [],
    ]
    assert session.log_probabilities(rows[2:]) == [[], [logarithm(3, 11)]]


def test_rows_beyond_the_length_are_refused_before_vllm_cuts_them(load: Load) -> None:
    session = load(length="12")
    assert len(list(session.generate([[1] * 8], 4))) == 4
    with pytest.raises(InputError, match="a row of 13 tokens") as error:
        list(session.generate([[1] * 8], 5))
    assert "length=13" in error.value.hint
    with pytest.raises(InputError, match="a row of 13 tokens"):
        session.log_probabilities([[1] * 12])


def test_rows_that_do_not_fit_into_the_cache_are_refused_before_vllm_computes_them_twice(
    load: Load, fake: type[LLMEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "blocks", 5)
    session = load(4)
    # 16 tokens a block: two rows of 17 to 32 tokens take the four blocks there are (one stands for nothing).
    assert len(list(session.generate([[1] * 20] * 2, 12))) == 12
    with pytest.raises(RefusedError, match=r"3 rows need 6 blocks .* has 4"):
        list(session.generate([[1] * 20] * 3, 12))
    assert len(list(load(4, sequences="2").generate([[1] * 20] * 3, 12))) == 12


def test_vllm_is_told_to_be_fair_and_quiet(load: Load, fake: type[LLMEngine], small: Model) -> None:
    load(3, Precision.FP32, graphs="off", memory="0.25")
    given = fake.started[0].arguments
    assert (given.model, given.dtype, given.load_format) == (small.folder, "float32", "safetensors")
    assert given.enable_prefix_caching is False
    assert (given.max_model_len, given.max_num_seqs, given.max_num_batched_tokens) == (128, 3, 3 * 128)
    assert (given.enforce_eager, given.gpu_memory_utilization) == (True, 0.25)
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert os.environ["VLLM_NO_USAGE_STATS"] == os.environ["HF_HUB_OFFLINE"] == "1"
    assert Path(os.environ["VLLM_CACHE_ROOT"]).parent.is_dir()


def test_facts_are_those_of_the_loaded_engine(load: Load) -> None:
    session = load(2)
    assert not session.facts().kv_cache, "no decode step has been seen yet"
    list(session.generate(PROMPTS[:2], 1))
    assert not session.facts().kv_cache, "one token out is prefill alone"
    list(session.generate(PROMPTS[:2], 3))
    facts = session.facts()
    assert (facts.engine_version, facts.threads) == ("0.24.0", 1)
    assert (facts.devices, facts.weight_dtypes) == ((("cuda", 2),), (("bf16", 2048),))
    assert (facts.compute_dtype, facts.kv_cache, facts.kv_cache_dtype) == ("bf16", True, "bf16")
    detail = dict(facts.detail)
    assert detail["attention"] == "FLASH_ATTN"
    assert (detail["cuda_graphs"], detail["cuda_graph_sizes"]) == ("full_and_piecewise", "1 2 4")
    assert (detail["prefix_caching"], detail["scheduling"], detail["sequences"]) == ("false", "async", "2")
    assert violations(replace(BF16, batch=2), facts) == ()
    assert session.peak_device_bytes() == 1 << 30


def test_weights_of_another_type_than_claimed_are_seen(
    load: Load, fake: type[LLMEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "weight_dtype", torch.float16)
    session = load()
    list(session.generate([[5]], 3))
    assert any("bf16" in violation for violation in violations(BF16, session.facts()))


def test_fp32_in_tf32_is_seen(load: Load) -> None:
    fp32 = replace(BF16, precision=Precision.FP32)
    session = load(precision=Precision.FP32)
    list(session.generate([[5, 6]], 3))
    assert violations(fp32, session.facts()) == ()
    sys.modules["triton"].knobs.language.fp32_default = None
    assert violations(fp32, session.facts()) == ("TF32 is on (triton_tf32), so products are not computed in fp32",)


def test_close_shuts_the_engine_down(load: Load, fake: type[LLMEngine]) -> None:
    load().close()
    assert fake.started[0].closed == [True]


def test_without_a_gpu(
    fake: type[LLMEngine], small: Model, artefacts: FolderArtefacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnavailableError, match="vllm needs a GPU") as error:
        VllmEngine().load(small, BF16, artefacts)
    assert "nvidia-smi" in error.value.hint
    assert not fake.started


def test_without_vllm(small: Model, artefacts: FolderArtefacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UnavailableError, match="cannot be imported") as error:
        VllmEngine().load(small, BF16, artefacts)
    assert error.value.hint == "servewatt engines add vllm"


def test_a_package_that_vllm_misses_only_as_it_starts(
    load: Load, fake: type[LLMEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "failure", ModuleNotFoundError("No module named 'torchvision'"))
    with pytest.raises(UnavailableError, match="vllm cannot start: No module named 'torchvision'") as error:
        load()
    assert error.value.hint == "servewatt engines doctor vllm"


@pytest.mark.parametrize(
    "said",
    [
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing",
        "Free memory on device cuda:0 (9.1/79.2 GiB) on startup is less than desired GPU memory utilization (0.9, ...)",
    ],
)
def test_too_little_memory_at_the_start(
    said: str, load: Load, fake: type[LLMEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "failure", ValueError(said))
    with pytest.raises(MemoryError, match="option memory") as error:
        load()
    assert describe_failure(error.value)[0] is Status.OUT_OF_MEMORY


def test_memory_that_runs_out_in_a_step(load: Load, fake: type[LLMEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    session = load()
    monkeypatch.setattr(fake, "failure_in_step", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    with pytest.raises(torch.OutOfMemoryError) as error:
        list(session.generate([[5]], 3))
    assert describe_failure(error.value)[0] is Status.OUT_OF_MEMORY
    assert not fake.started[0].scheduler.waiting


def test_what_vllm_says_of_a_model_it_does_not_run(
    load: Load, fake: type[LLMEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = (
        "1 validation error for ModelConfig\n  Value error, CodeGenForCausalLM is not supported [type=value_error, in"
    )
    monkeypatch.setattr(fake, "failure", ValueError(said))
    with pytest.raises(RefusedError) as error:
        load()
    assert error.value.message.endswith("vllm cannot run it: CodeGenForCausalLM is not supported")


def test_an_assertion_without_a_word_is_told_by_its_line(
    load: Load, fake: type[LLMEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def assert_it(arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr(fake, "from_engine_args", assert_it)
    with pytest.raises(RefusedError, match="vllm cannot run it: AssertionError at `raise AssertionError`"):
        load()


def test_settings_that_vllm_has_no_gpt_2_for(tmp_path: Path, artefacts: FolderArtefacts) -> None:
    config = {"architectures": ["GPT2LMHeadModel"], "scale_attn_by_inverse_layer_idx": True}
    for name, more in (("with", {"reorder_and_upcast_attn": True}), ("without", {"reorder_and_upcast_attn": False})):
        model = replace(described(tmp_path / name, config | more, context=128), architecture="GPT2LMHeadModel")
        with pytest.raises(RefusedError, match="lacks scale_attn_by_inverse_layer_idx") as error:
            VllmEngine().prepare(model, BF16, artefacts)
        assert ("reorder_and_upcast_attn" in error.value.message) is (name == "with")
    plain = described(tmp_path / "plain", {"architectures": ["GPT2LMHeadModel"]}, context=128)
    VllmEngine().prepare(replace(plain, architecture="GPT2LMHeadModel"), BF16, artefacts)


def test_queries_keys_and_values_in_an_order_that_vllm_takes_wrongly(
    tmp_path: Path, artefacts: FolderArtefacts
) -> None:
    config = {"architectures": ["GPTBigCodeForCausalLM"], "multi_query": False}
    model = described(tmp_path / "big", config, context=128)
    with pytest.raises(RefusedError, match="multi_query"):
        VllmEngine().prepare(replace(model, architecture="GPTBigCodeForCausalLM"), BF16, artefacts)


@pytest.mark.parametrize(
    ("configuration", "error", "says"),
    [
        (replace(BF16, provider=Provider.CPU), RefusedError, "provider cuda only"),
        (replace(BF16, precision=Precision.INT8), RefusedError, "quantised beforehand"),
        (replace(BF16, options=(("memory", "1.5"),)), InputError, "memory cannot be '1.5'"),
        (replace(BF16, options=(("sequences", "0"),)), InputError, "sequences cannot be '0'"),
        (replace(BF16, options=(("length", "129"),)), InputError, "context of 128"),
        (replace(BF16, options=(("graphs", "maybe"),)), InputError, "graphs cannot be 'maybe'"),
        (replace(BF16, options=(("bucket", "64"),)), InputError, "no option 'bucket'"),
    ],
)
def test_what_is_refused_before_anything_is_loaded(
    configuration: Configuration, error: type[Exception], says: str, small: Model, artefacts: FolderArtefacts
) -> None:
    with pytest.raises(error, match=says):
        VllmEngine().prepare(small, configuration, artefacts)


def test_the_environment_is_pinned_exactly() -> None:
    assert all(requirement.count("==") == 1 for requirement in REQUIREMENTS)
    assert "vllm==0.24.0" in REQUIREMENTS
    assert engines.entry("vllm").pins == REQUIREMENTS
    assert engines.entry("vllm").install_line == "servewatt engines add vllm"
