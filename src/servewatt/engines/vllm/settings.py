"""How engine vllm is started: the options of a configuration, vLLM's arguments, and what it must not do on its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servewatt.checkpoints.architecture import ARCHITECTURES
from servewatt.checkpoints.config import read_config
from servewatt.checkpoints.files import read_object
from servewatt.checkpoints.rotary import DEFAULT, rotary_settings
from servewatt.errors import InputError, RefusedError
from servewatt.records import Configuration, Model, Precision, Provider

MOST_TOKENS = 2048
"""Tokens of a row, prompt and generation, where option `length` says nothing: vLLM's graphs are recorded for it."""
PREFILL_TOKENS = 8192
"""Most tokens in one engine step; prompts beyond it are taken in by further steps."""
_NOT_OF_GPT2 = ("add_cross_attention", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn")
"""Settings of a checkpoint that vLLM's GPT-2 asserts to be off."""
_SAME_ROPE = frozenset({DEFAULT, "linear", "llama3"})
"""Types of rotary embedding that vLLM computes as transformers does."""
OTHER_ENGINES = "use engine torch, torch-graph or onnx"
_DTYPES = {Precision.FP32: "float32", Precision.BF16: "bfloat16", Precision.FP16: "float16"}

VARIABLES = {
    # The engine core runs in this process: a second process would count as foreign load.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    # What torch.distributed needs even for one GPU stays on the loopback.
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_FLOAT32_MATMUL_PRECISION": "highest",
    # vLLM's Triton attention, which fp32 takes, does not say how to multiply; Triton would take TF32.
    "TRITON_F32_DEFAULT": "ieee",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
"""Environment variables, to be set before vllm is imported."""


def cache_variables(folder: Path) -> dict[str, str]:
    """Environment variables that keep in `folder` what vLLM, inductor and Triton compile."""
    return {
        "VLLM_CACHE_ROOT": str(folder / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
    }


@dataclass(frozen=True)
class VllmSettings:
    """The options of a configuration, defaults filled in."""

    dtype: str
    """vLLM's name of the type of weights, arithmetic and cache."""
    sequences: int
    """Most rows that decode at once; further ones wait until one has ended."""
    length: int
    """Most tokens of a row, prompt and generation."""
    memory: float
    """Share of the GPU's memory that vLLM takes, its KV cache filling what weights and graphs leave."""
    graphs: bool
    """Whether the model is compiled and recorded in CUDA graphs."""
    overlapped: bool
    """Whether the next step is scheduled before the ids of this one have reached the host."""

    @classmethod
    def of(cls, model: Model, configuration: Configuration) -> VllmSettings:
        """RefusedError for what vLLM does not run here, InputError for an option's impossible value."""
        if configuration.provider is not Provider.CUDA:
            raise RefusedError(f"{configuration.key}: vllm runs here on provider cuda only", "use provider cuda")
        if configuration.precision not in _DTYPES:
            raise RefusedError(
                f"{configuration.key}: vllm narrows weights only from checkpoints that were quantised beforehand, "
                "or to fp8, which servewatt does not measure",
                "use fp32, bf16 or fp16; torch-graph and llama-cpp have int8 and int4",
            )
        given = dict(configuration.options)
        length = _whole(given, "length", min(model.context_length, MOST_TOKENS))
        if length > model.context_length:
            raise InputError(
                f"option length={length} exceeds the model's context of {model.context_length}", "lower it"
            )
        return cls(
            dtype=_DTYPES[configuration.precision],
            sequences=_whole(given, "sequences", configuration.batch),
            length=length,
            memory=_share(given, "memory", 0.9),
            graphs=given.get("graphs", "on") == "on",
            overlapped=given.get("scheduling", "async") == "async",
        )

    def arguments(self, model: Model) -> dict[str, Any]:
        """Arguments of `vllm.EngineArgs`."""
        return {
            "model": model.folder,
            "skip_tokenizer_init": True,
            "load_format": "safetensors",
            "use_tqdm_on_load": False,
            # vLLM's own modelling code, and never a wrapper around that of transformers.
            "model_impl": "vllm",
            # The checkpoint's generation_config.json could add penalties or stop ids.
            "generation_config": "vllm",
            "dtype": self.dtype,
            "max_model_len": self.length,
            "max_num_seqs": self.sequences,
            "max_num_batched_tokens": max(self.sequences, min(PREFILL_TOKENS, self.sequences * self.length)),
            # A pass over the same prompts again must prefill them again.
            "enable_prefix_caching": False,
            "gpu_memory_utilization": self.memory,
            "enforce_eager": not self.graphs,
            "async_scheduling": self.overlapped,
            "enable_flashinfer_autotune": False,
            "disable_log_stats": True,
            "seed": 0,
        }


def check_model(model: Model) -> None:
    """RefusedError for checkpoints that vLLM 0.24 would compute wrongly, or reject, without a word."""
    config = read_config(model.folder)
    _check_head(model, config)
    kind = rotary_settings(config).kind
    if kind not in _SAME_ROPE:
        raise RefusedError(
            f"{model.name}: vllm computes rotary embeddings of type {kind!r} otherwise than transformers",
            "use engine torch",
        )
    if model.architecture == "GPT2LMHeadModel" and (lacking := [name for name in _NOT_OF_GPT2 if config.get(name)]):
        raise RefusedError(f"{model.name}: vllm's GPT-2 lacks {' and '.join(lacking)}", OTHER_ENGINES)
    if model.architecture == "GPTBigCodeForCausalLM" and not config.get("multi_query", True):
        raise RefusedError(
            f"{model.name}: vllm takes the queries, keys and values of GPTBigCode without multi_query in another order",
            OTHER_ENGINES,
        )


def _check_head(model: Model, config: dict[str, Any]) -> None:
    """RefusedError where config.json ties a head that the weights have of their own: vLLM would pass over it."""
    stated = read_object(Path(model.folder) / "config.json").get("tie_word_embeddings")
    known = ARCHITECTURES.get(model.architecture)
    tied = (known is not None and known.tied) if stated is None else stated
    if tied and config.get("tie_word_embeddings") is False:
        raise RefusedError(
            f"{model.name}: vllm ties the head to the embedding as config.json says; the weights have another head",
            "set tie_word_embeddings to false in config.json, which is what the weights are",
        )


def _whole(given: dict[str, str], name: str, default: int) -> int:
    text = given.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"option {name} cannot be {text!r}", "give a whole number of at least 1")
    return int(text)


def _share(given: dict[str, str], name: str, default: float) -> float:
    text = given.get(name, str(default))
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise InputError(f"option {name} cannot be {text!r}", "give a share of the GPU's memory, such as 0.9")
    return share
