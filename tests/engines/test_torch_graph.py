"""The torch-graph engine says what transformers says, in every architecture and however its steps are cut."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from servewatt.engines import create, entry
from servewatt.engines.proof import violations
from servewatt.engines.torch_graph.choices import Choices
from servewatt.engines.torch_graph.engine import TorchGraphEngine
from servewatt.engines.torch_graph.replay import DirectCapture, Work
from servewatt.engines.torch_graph.session import TorchGraphSession
from servewatt.errors import InputError, RefusedError
from servewatt.records import Configuration, Model, Precision, Provider
from tests.engines.conftest import NEW_TOKENS
from tests.engines.tiny import (
    SIZES,
    FolderArtefacts,
    model_of,
    random_prompts,
    session_generate,
    transformers_generate,
    transformers_log_probabilities,
    write_model,
)

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.engine

Load = Callable[[Model, Configuration], TorchGraphSession]


def configured(precision: Precision, options: dict[str, str], batch: int = 1) -> Configuration:
    return Configuration(
        "torch-graph", precision=precision, batch=batch, threads=1, options=tuple(sorted(options.items()))
    )


def configuration(batch: int = 1, **options: str) -> Configuration:
    return configured(Precision.FP32, options, batch)


@pytest.mark.parametrize("kind", [*SIZES, "bundled"])
@pytest.mark.parametrize(
    "options",
    [{}, {"merge": "off", "attention": "fused", "prefill": "graph", "bucket": "64", "steps": "4"}],
    ids=["default", "other"],
)
def test_same_tokens_as_transformers(
    kind: str,
    options: dict[str, str],
    folder_of: Callable[[str], Path],
    prompts_of: Callable[[str], list[list[int]]],
    expected: Callable[[str, int], list[list[int]]],
    load: Load,
) -> None:
    session = load(model_of(folder_of(kind)), configured(Precision.FP32, options))
    for batch in (1, 4):
        assert session_generate(session, prompts_of(kind), NEW_TOKENS, batch) == expected(kind, batch), f"batch {batch}"
    session.close()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("gpt_neox", {"use_parallel_residual": False}),
        ("gpt_neox", {"tie_word_embeddings": True, "hidden_act": "gelu_new"}),
        ("gpt_bigcode", {"multi_query": False, "n_inner": 96}),
        ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
        ("bloom", {"n_head": 6, "hidden_size": 48}),
        ("gemma", {"hidden_act": "gelu", "hidden_activation": "silu"}),
        ("gemma", {"hidden_act": "silu"}),
    ],
)
def test_same_tokens_in_variants_of_the_architectures(
    kind: str, changes: dict[str, object], tmp_path: Path, load: Load
) -> None:
    folder = write_model(tmp_path / kind, kind, **changes)
    prompts = random_prompts(4, seed=1)
    session = load(model_of(folder), configuration())
    assert session_generate(session, prompts, 24, 4) == transformers_generate(folder, prompts, 24, 4)
    session.close()


def test_generations_across_buckets_of_the_cache(model: Model, folder_of: Callable[[str], Path], load: Load) -> None:
    """60 tokens in and 150 out: the cache grows through the buckets that end at 64, 128, 192 and 256."""
    prompts = [[3 + (7 * i + 5 * j) % 300 for j in range(length)] for i, length in enumerate((60, 3))]
    session = load(model, configuration(bucket="64", steps="16"))
    short = session_generate(session, prompts[1:], 4, 1)
    assert session_generate(session, prompts, 150, 2) == transformers_generate(folder_of("llama"), prompts, 150, 2)
    assert session_generate(session, prompts[1:], 4, 1) == short, "a larger cache made since changes nothing"
    session.close()


@pytest.mark.parametrize("steps", ["1", "8"])
def test_a_stop_ends_its_row_and_in_the_end_the_generation(
    steps: str,
    model: Model,
    prompts_of: Callable[[str], list[list[int]]],
    expected: Callable[[str, int], list[list[int]]],
    load: Load,
) -> None:
    rows = expected("llama", 4)[:2]
    stops = frozenset({rows[0][3], rows[1][5]})
    last = [next(i for i, token in enumerate(row) if token in stops) for row in rows]
    session = load(model, configuration(steps=steps))
    made = list(session.generate(prompts_of("llama")[:2], NEW_TOKENS, stops))
    assert len(made) == max(last) + 1
    for row, end in enumerate(last):
        assert [step.tokens[row] for step in made] == rows[row][: end + 1] + [None] * (max(last) - end)
    session.close()


def overflowing(session: TorchGraphSession, token: int) -> None:
    """Make a token's embedding what fp16 makes of numbers that are too large for it."""
    session._weights.embedding.weight[token] = float("inf")


@pytest.mark.parametrize("options", [{}, {"attention": "fused"}, {"prefill": "graph"}], ids=["sdpa", "fused", "graph"])
def test_a_generation_that_has_overflowed_spoils_no_other(
    options: dict[str, str], folder_of: Callable[[str], Path], load: Load
) -> None:
    """What is no number stays in the cache, where the mask hides it from the next generations."""
    folder = folder_of("llama")
    prompts = [[token for token in prompt if token != 7] for prompt in random_prompts(2, seed=3)]
    rows = [prompt[:6] * 3 for prompt in prompts]
    session = load(model_of(folder), configured(Precision.FP32, options, batch=2))
    overflowing(session, 7)
    spoiled = list(session.generate([[5, 7, *range(8, 60)]] * 2, 40))
    buffers = session._batches[2].buffers
    assert len(spoiled) == 40 and buffers is not None and buffers.keys[1].isnan().any()
    assert session_generate(session, prompts, 24, 2) == transformers_generate(folder, prompts, 24, 2)
    list(session.generate([[5, 7, *range(8, 60)]] * 2, 40))
    found = session.log_probabilities(rows)
    for values, wanted in zip(found, transformers_log_probabilities(folder, rows), strict=True):
        assert values == pytest.approx(wanted, abs=1e-3)
    session.close()


@pytest.mark.parametrize("options", [{}, {"attention": "fused", "prefill": "graph"}], ids=["sdpa", "fused"])
def test_padding_that_overflows_spoils_no_row(
    options: dict[str, str], folder_of: Callable[[str], Path], load: Load
) -> None:
    """Rows are padded with token 0."""
    folder, prompts = folder_of("llama"), random_prompts(4, seed=3)
    expected = transformers_generate(folder, prompts, 24, 1)
    assert not any(0 in row for row in expected)
    session = load(model_of(folder), configured(Precision.FP32, options))
    overflowing(session, 0)
    assert session_generate(session, prompts, 24, 4) == expected
    session.close()


class FakeGraphs(DirectCapture):
    """A stand-in for CUDA graphs: runs work twice before it is captured, counts replays, and hands ids over late."""

    name = "fake graph"
    overlaps = True

    def __init__(self) -> None:
        super().__init__()
        self.replays = 0
        self.pending = 0
        self.most_pending = 0
        self.may_capture = True

    def capture(self, work: Work, changed: Sequence[torch.Tensor]) -> Work:
        assert self.may_capture
        self.captured += 1
        before = [tensor.clone() for tensor in changed]
        for _ in range(2):
            work()
            for tensor, content in zip(changed, before, strict=True):
                tensor.copy_(content)

        def replay() -> None:
            self.replays += 1
            work()

        return replay

    def fetch(self, tensor: torch.Tensor) -> Callable[[], list[list[int]]]:
        copy = tensor.clone()
        self.pending += 1
        self.most_pending = max(self.most_pending, self.pending)

        def wait() -> list[list[int]]:
            self.pending -= 1
            rows: list[list[int]] = copy.tolist()
            return rows

        return wait


def with_fake_graphs(session: TorchGraphSession) -> FakeGraphs:
    graphs = FakeGraphs()
    session._graphs = graphs
    return graphs


def test_replays_give_the_same_tokens_and_share_their_time(
    model: Model,
    prompts_of: Callable[[str], list[list[int]]],
    expected: Callable[[str, int], list[list[int]]],
    load: Load,
) -> None:
    session = load(model, configuration(prefill="graph"))
    # The first generation also tries whether the cache is used.
    list(session.generate(prompts_of("llama")[:4], 2))
    graphs = with_fake_graphs(session)
    session._batches.clear()
    steps = list(session.generate(prompts_of("llama")[:4], 32))
    assert [list(row) for row in zip(*(step.tokens for step in steps), strict=True)] == [
        row[:32] for row in expected("llama", 4)[:4]
    ]
    # One prefill, then 31 steps as 8 + 8 + 8 + 4 + 2 + 1.
    assert graphs.replays == 7
    assert graphs.most_pending == 2, "the next replay is asked for before the ids of the last are waited for"
    times = [step.time_s for step in steps]
    assert [times.count(time_s) for time_s in sorted(set(times))] == [1, 8, 8, 8, 4, 2, 1]
    session.close()


def test_nothing_is_recorded_once_prompts_and_one_long_generation_have_been_seen(
    model: Model, prompts_of: Callable[[str], list[list[int]]], load: Load
) -> None:
    """What warm-up does: every batch with two tokens, then the first in full."""
    session = load(model, configuration(prefill="graph", bucket="64"))
    graphs = with_fake_graphs(session)
    batches = [prompts_of("llama")[i : i + 3] for i in range(0, 20, 3)]
    for batch in batches:
        list(session.generate(batch, 2))
    list(session.generate(batches[0], 100))
    graphs.may_capture = False
    for batch in batches:
        assert len(list(session.generate(batch, 100))) == 100
    session.close()


def test_a_row_that_stops_wastes_the_rest_of_its_replay(
    model: Model,
    prompts_of: Callable[[str], list[list[int]]],
    expected: Callable[[str, int], list[list[int]]],
    load: Load,
) -> None:
    row = expected("llama", 1)[0]
    stop = next(i for i, token in enumerate(row) if token not in row[:i] and i > 8)
    session = load(model, configuration())
    list(session.generate(prompts_of("llama")[:1], 2))
    graphs = with_fake_graphs(session)
    session._batches.clear()
    assert len(list(session.generate(prompts_of("llama")[:1], NEW_TOKENS, frozenset({row[stop]})))) == stop + 1
    assert graphs.replays == -(-stop // 8), "no replay is begun once the stop is known"
    session.close()


@pytest.mark.parametrize("kind", ["gpt_neox", "bloom", "llama"])
def test_log_probabilities_are_those_of_transformers(kind: str, folder_of: Callable[[str], Path], load: Load) -> None:
    rows = [*random_prompts(4), [5]]
    session = load(model_of(folder_of(kind)), configuration(batch=2, steps="4"))
    found = session.log_probabilities(rows)
    for values, wanted in zip(found, transformers_log_probabilities(folder_of(kind), rows), strict=True):
        assert values == pytest.approx(wanted, abs=1e-3)
    session.close()


def test_a_loaded_session_shows_what_runs(model: Model, load: Load) -> None:
    session = load(model, configuration())
    assert not session.facts().kv_cache, "no decode step has been seen yet"
    list(session.generate(random_prompts(2), 4))
    session.synchronize()
    facts = session.facts()
    assert (facts.compute_dtype, facts.kv_cache, facts.kv_cache_dtype) == ("fp32", True, "fp32")
    assert dict(facts.devices).keys() == {"cpu"}
    # 4 bytes for each number in the file, whose header is about 3 kB.
    assert 0.98 * model.weight_bytes < dict(facts.weight_dtypes)["fp32"] <= model.weight_bytes
    assert dict(facts.detail)["replay"] == "direct"
    assert dict(facts.detail)["steps_per_replay"] == "8"
    assert violations(configuration(), facts) == ()
    assert session.peak_device_bytes() is None
    session.close()


@pytest.mark.parametrize(
    ("precision", "options", "compute"),
    [
        (Precision.BF16, {}, "bf16"),
        (Precision.INT8, {}, "fp32"),
        (Precision.INT8, {"compute": "bf16"}, "bf16"),
        (Precision.INT4, {"group": "32", "compute": "bf16"}, "bf16"),
    ],
)
def test_narrow_weights_are_held_and_shown(
    precision: Precision, options: dict[str, str], compute: str, folder_of: Callable[[str], Path], load: Load
) -> None:
    asked = configured(precision, options)
    session = load(model_of(folder_of("bloom")), asked)
    assert len(list(session.generate(random_prompts(2), 4))) == 4
    facts = session.facts()
    assert (facts.compute_dtype, facts.kv_cache_dtype) == (compute, compute)
    assert violations(asked, facts) == ()
    # Two layers of 12 x 64 x 64 numbers, and a tied embedding of 311 x 64.
    numbers = 2 * 12 * 64 * 64 + 311 * 64
    held = dict(facts.weight_dtypes)
    assert held[precision.value] == {"int8": numbers, "int4": numbers // 2}.get(precision.value, held[precision.value])
    assert dict(facts.detail).get("group") == options.get("group")
    session.close()


def test_the_group_shown_is_that_of_the_weights(folder_of: Callable[[str], Path], load: Load) -> None:
    session = load(model_of(folder_of("bloom")), configured(Precision.INT4, {"group": "32"}))
    session._choices = replace(session._choices, group=64)
    assert dict(session.facts().detail)["group"] == "32"
    session.close()


@pytest.mark.skipif(
    not (shutil.which("g++") and (Path(sysconfig.get_path("include")) / "Python.h").exists()),
    reason="inductor needs g++ and Python's headers",
)
def test_a_compiled_step_says_the_same_and_its_kernels_are_kept(
    folder_of: Callable[[str], Path], prompts_of: Callable[[str], list[list[int]]], tmp_path: Path
) -> None:
    artefacts = FolderArtefacts(tmp_path)
    prompts = prompts_of("gpt_neox")[:2]
    session = create("torch-graph").load(model_of(folder_of("gpt_neox")), configuration(compile="default"), artefacts)
    made = session_generate(session, prompts, 12, 2)
    assert made == transformers_generate(folder_of("gpt_neox"), prompts, 12, 2)
    assert dict(session.facts().detail)["compile"] == "default"
    assert artefacts.built == ["torch-graph"]
    assert any(path.is_file() for path in tmp_path.rglob("*")), "inductor's cache is among the artefacts"
    session.close()


def test_defaults_depend_on_provider_and_batch() -> None:
    cuda = Configuration("torch-graph", Provider.CUDA, Precision.INT8)
    assert Choices.of(cuda).compile == "max-autotune"
    assert Choices.of(replace(cuda, batch=64)).compile == "default"
    assert Choices.of(cuda).compute is Precision.BF16
    assert Choices.of(cuda).captured_prefill
    assert Choices.of(configuration()).compile == "off"


def test_one_row_is_computed_by_kernels_where_they_can() -> None:
    cuda = Configuration("torch-graph", Provider.CUDA, Precision.BF16)
    assert Choices.of(cuda).one_row == "triton"
    assert Choices.of(configuration()).one_row == "compiled"
    for option in (("region", "step"), ("attention", "sdpa"), ("one_row", "compiled")):
        assert Choices.of(replace(cuda, options=(option,))).one_row == "compiled"
    assert Choices.of(replace(cuda, batch=64)).one_row == "compiled"
    split = replace(cuda, options=(("attention", "split"),))
    assert (Choices.of(split).attention, Choices.of(split).one_row) == ("split", "triton")
    assert Choices.of(cuda).attention == "triton", "split has to be asked for"
    with pytest.raises(InputError, match="option attention=split is for CUDA"):
        Choices.of(replace(split, provider=Provider.CPU))
    for asked in (
        replace(cuda, options=(("one_row", "triton"), ("region", "step"))),
        replace(cuda, options=(("one_row", "triton"),), batch=64),
    ):
        with pytest.raises(InputError, match="goes with batch 1, region=layer, attention=triton"):
            Choices.of(asked)


def test_products_of_a_step_by_default_and_as_asked() -> None:
    cuda = Configuration("torch-graph", Provider.CUDA, Precision.INT4, batch=4)
    for several in (cuda, replace(cuda, batch=256), replace(cuda, precision=Precision.INT8)):
        assert Choices.of(several).step_products == "triton"
    for other in (
        replace(cuda, batch=1),
        replace(cuda, options=(("compute", "fp16"),)),
        replace(cuda, precision=Precision.BF16),
        replace(cuda, provider=Provider.CPU),
        replace(cuda, options=(("step_products", "unpacked"),)),
    ):
        assert Choices.of(other).step_products == "unpacked"
    asked = replace(cuda, options=(("step_products", "triton"),))
    for given in (asked, replace(asked, batch=256)):
        assert Choices.of(given).step_products == "triton"
    for refused in (replace(asked, batch=1), replace(asked, precision=Precision.BF16)):
        with pytest.raises(InputError, match="step_products=triton is for int8 and int4 at batch 2 or more"):
            Choices.of(refused)
    with pytest.raises(InputError, match="step_products=triton is for CUDA"):
        Choices.of(replace(asked, provider=Provider.CPU))


def test_products_of_prefill_by_default_and_as_asked() -> None:
    cuda = Configuration("torch-graph", Provider.CUDA, Precision.INT8)
    assert Choices.of(cuda).prefill_products == "auto"
    for other in (
        replace(cuda, options=(("compute", "fp16"),)),
        replace(cuda, precision=Precision.BF16),
        replace(cuda, provider=Provider.CPU),
    ):
        assert Choices.of(other).prefill_products == "unpacked"
    triton = (("prefill_products", "triton"),)
    for asked in (cuda, replace(cuda, precision=Precision.INT4), replace(cuda, batch=64)):
        assert Choices.of(replace(asked, options=triton)).prefill_products == "triton"
    for refused, where in (
        (replace(cuda, precision=Precision.BF16), "int8 and int4"),
        (replace(cuda, provider=Provider.CPU), "CUDA"),
    ):
        assert Choices.of(replace(refused, options=(("prefill_products", "unpacked"),))).prefill_products == "unpacked"
        for value in ("triton", "auto"):
            with pytest.raises(InputError, match=f"prefill_products={value} is for {where}"):
                Choices.of(replace(refused, options=(("prefill_products", value),)))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (configuration(compute="bf16"), "option compute is for int8 and int4"),
        (configuration(group="32"), "option group is for int4"),
        (configuration(inductor="no_such_thing:1"), "no setting of inductor"),
        (configuration(steps="3"), "option steps cannot be '3'"),
    ],
)
def test_options_that_make_no_sense(asked: Configuration, words: str, model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        TorchGraphEngine().load(model, asked, FolderArtefacts(tmp_path))


def test_a_missing_compiler_is_told_with_what_installs_it(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from servewatt.errors import UnavailableError

    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UnavailableError) as caught:
        TorchGraphEngine().load(model, configuration(compile="default"), FolderArtefacts(tmp_path))
    assert "apt install g++" in caught.value.hint


def test_more_tokens_than_the_context_are_refused(model: Model, load: Load) -> None:
    session = load(model, configuration())
    with pytest.raises(InputError, match="257 tokens, prompt and generation, exceed the model's context of 256"):
        list(session.generate([[5]], 256))
    session.close()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("bloom", {"apply_residual_connection_post_layernorm": True}),
        ("gemma", {"hidden_act": "tanh"}),
        ("gemma", {"use_bidirectional_attention": True}),
    ],
)
def test_what_the_decoder_does_not_compute_is_refused(
    kind: str, changes: dict[str, object], tmp_path: Path, load: Load
) -> None:
    with pytest.raises(RefusedError, match="torch-graph does not compute"):
        load(model_of(write_model(tmp_path / kind, kind, **changes)), configuration())


def test_missing_weights_and_unknown_architectures(model: Model, folder_of: Callable[[str], Path], load: Load) -> None:
    with pytest.raises(RefusedError, match="torch-graph does not know MambaForCausalLM"):
        load(replace(model, architecture="MambaForCausalLM"), configuration())
    # The folder of a GPT-NeoX read as a Phi lacks what a Phi has.
    with pytest.raises((InputError, RefusedError)):
        load(replace(model_of(folder_of("gpt_neox")), architecture="PhiForCausalLM"), configuration())


def every_option() -> Iterable[tuple[str, str]]:
    from servewatt.engines import ENGINES

    return [(option.name, value) for option in ENGINES["torch-graph"].options for value in option.values]


@pytest.mark.parametrize(("name", "value"), every_option())
def test_every_option_of_the_table_is_understood(name: str, value: str) -> None:
    quantised = {"group", "compute", "prefill_products", "step_products"}
    asked = configured(Precision.INT4 if name in quantised else Precision.FP32, {name: value})
    if name == "step_products":
        asked = replace(asked, batch=2)
    if value in {"triton", "split", "auto"}:
        with pytest.raises(InputError, match="is for CUDA"):
            Choices.of(asked)
        asked = replace(asked, provider=Provider.CUDA)
    entry("torch-graph").check_options(asked)
    Choices.of(asked)
