"""A small vllm 0.24: the part of its interface that engine vllm uses, its scheduling rules, and a model of arithmetic.

Kept from the real one: outputs carry the name a request was given, though the engine knows it by another; rows are
taken in a budget of tokens a step, so a long prompt takes several; at most `max_num_seqs` decode at once, the others
wait; with asynchronous scheduling the first step yields nothing and one more is scheduled ahead; a row ends at
`max_model_len` without a word.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

VOCABULARY = 64
BLOCK = 16


class RequestOutputKind(Enum):
    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@dataclass
class SamplingParams:
    temperature: float = 1.0
    max_tokens: int = 16
    ignore_eos: bool = False
    stop_token_ids: list[int] = field(default_factory=list)
    prompt_logprobs: int | None = None
    detokenize: bool = True
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE


@dataclass
class EngineArgs:
    model: str
    skip_tokenizer_init: bool = False
    load_format: str = "auto"
    use_tqdm_on_load: bool = True
    model_impl: str = "auto"
    generation_config: str = "auto"
    dtype: str = "auto"
    max_model_len: int = 64
    max_num_seqs: int = 128
    max_num_batched_tokens: int = 2048
    enable_prefix_caching: bool | None = None
    gpu_memory_utilization: float = 0.92
    enforce_eager: bool = False
    async_scheduling: bool | None = None
    enable_flashinfer_autotune: bool | None = None
    disable_log_stats: bool = False
    seed: int = 0


@dataclass
class Request:
    request_id: str
    external_id: str
    tokens: list[int]
    num_prompt_tokens: int
    parameters: SamplingParams
    num_computed_tokens: int = 0
    placeholders: int = 0


class FakeTensor:
    """A weight on a GPU, as far as facts look at one."""

    is_mkldnn = False

    def __init__(self, numbers: int, dtype: torch.dtype = torch.bfloat16) -> None:
        self.dtype = dtype
        self.device = SimpleNamespace(type="cuda")
        self._numbers = numbers

    def dim(self) -> int:
        return 2

    def numel(self) -> int:
        return self._numbers

    def element_size(self) -> int:
        return int(self.dtype.itemsize)

    def data_ptr(self) -> int:
        return id(self)


def next_token(tokens: Sequence[int]) -> int:
    """What the model says after `tokens`."""
    return (7 * tokens[-1] + 3 * len(tokens) + sum(tokens)) % VOCABULARY


def logarithm(token: int, before: int) -> float:
    """Of the probability that the model gives to `token` after `before`."""
    return -1.0 - (5 * token + before) % 11 / 8


class LLMEngine:
    """The engine with its core and runner in one."""

    started: ClassVar[list[LLMEngine]] = []
    failure: ClassVar[Exception | None] = None
    """Raised at the start."""
    failure_in_step: ClassVar[Exception | None] = None
    blocks: ClassVar[int] = 65
    weight_dtype: ClassVar[torch.dtype | None] = None
    """Of the weights that are held, where it is not the one asked for."""

    def __init__(self, arguments: EngineArgs) -> None:
        self.arguments = arguments
        dtype = getattr(torch, arguments.dtype)
        self.vllm_config = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=arguments.max_model_len),
            cache_config=SimpleNamespace(
                block_size=BLOCK,
                num_gpu_blocks=self.blocks,
                enable_prefix_caching=arguments.enable_prefix_caching,
                gpu_memory_utilization=arguments.gpu_memory_utilization,
            ),
            scheduler_config=SimpleNamespace(
                async_scheduling=arguments.async_scheduling,
                max_num_seqs=arguments.max_num_seqs,
                max_num_batched_tokens=arguments.max_num_batched_tokens,
            ),
            compilation_config=SimpleNamespace(
                cudagraph_mode=SimpleNamespace(name="NONE" if arguments.enforce_eager else "FULL_AND_PIECEWISE"),
                cudagraph_capture_sizes=[] if arguments.enforce_eager else [1, 2, 4],
            ),
        )
        held = self.weight_dtype or dtype
        weights = [FakeTensor(1000, held), FakeTensor(24, held)]
        backend = SimpleNamespace(get_name=lambda: "TRITON_ATTN" if dtype is torch.float32 else "FLASH_ATTN")
        runner = SimpleNamespace(
            kv_caches=[FakeTensor(64, dtype)],
            attn_groups=[[SimpleNamespace(backend=backend)]],
            get_model=lambda: SimpleNamespace(parameters=lambda: iter(weights)),
        )
        self.model_executor = SimpleNamespace(
            driver_worker=SimpleNamespace(worker=SimpleNamespace(model_runner=runner))
        )
        self.scheduler = SimpleNamespace(running=[], waiting=[])
        self.engine_core = SimpleNamespace(
            engine_core=SimpleNamespace(scheduler=self.scheduler), shutdown=lambda: self.closed.append(True)
        )
        self.closed: list[bool] = []
        self.steps = 0
        self._in_flight: list[list[Request]] = []
        self.started.append(self)

    @classmethod
    def from_engine_args(cls, engine_args: EngineArgs) -> LLMEngine:
        if cls.failure is not None:
            raise cls.failure
        return cls(engine_args)

    def add_request(self, request_id: str, prompt: dict[str, Any], params: SamplingParams) -> str:
        assert isinstance(request_id, str)
        assert prompt["type"] == "token"
        tokens = prompt["prompt_token_ids"]
        if not 0 < len(tokens) < self.arguments.max_model_len:
            raise ValueError(f"The decoder prompt (length {len(tokens)}) is longer than the maximum model length")
        name = f"{request_id}-5f3a"
        self.scheduler.waiting.append(Request(name, request_id, list(tokens), len(tokens), params))
        return name

    def abort_request(self, request_ids: list[str], internal: bool = False) -> None:
        assert not internal
        for queue in (self.scheduler.running, self.scheduler.waiting):
            queue[:] = [request for request in queue if request.external_id not in request_ids]

    def step(self) -> list[Any]:
        self.steps += 1
        if self.failure_in_step is not None:
            raise self.failure_in_step
        scheduled = self._schedule()
        if not self.arguments.async_scheduling:
            return self._outputs(scheduled)
        self._in_flight.append(scheduled)
        if len(self._in_flight) < 2 and scheduled:
            return []
        return self._outputs(self._in_flight.pop(0))

    def _schedule(self) -> list[Request]:
        """Requests that get a token in this step."""
        budget, running = self.arguments.max_num_batched_tokens, self.scheduler.running
        waiting = self.scheduler.waiting
        ready = []
        for request in [*running, *waiting[: self.arguments.max_num_seqs - len(running)]]:
            most = request.num_prompt_tokens + request.parameters.max_tokens
            if request.placeholders and request.num_computed_tokens + 2 - request.placeholders >= most:
                continue
            new = min(len(request.tokens) + request.placeholders - request.num_computed_tokens, budget)
            if new < 1:
                continue
            if request in waiting:
                waiting.remove(request)
                running.append(request)
            budget -= new
            request.num_computed_tokens += new
            if request.num_computed_tokens >= request.num_prompt_tokens:
                request.placeholders += 1
                ready.append(request)
        return ready

    def _outputs(self, requests: list[Request]) -> list[Any]:
        # In another order than asked: nobody promises one.
        return [output for request in reversed(requests) if (output := self._output(request)) is not None]

    def _output(self, request: Request) -> Any:
        request.placeholders -= 1
        if request not in self.scheduler.running:  # stopped or broken off while this step was in flight
            return None
        request.tokens.append(next_token(request.tokens))
        parameters, new = request.parameters, request.tokens[request.num_prompt_tokens :]
        finished = (
            len(new) >= parameters.max_tokens
            or new[-1] in parameters.stop_token_ids
            or len(request.tokens) >= self.arguments.max_model_len
        )
        if finished:
            self.scheduler.running.remove(request)
        if parameters.output_kind is RequestOutputKind.FINAL_ONLY and not finished:
            return None
        delta = parameters.output_kind is RequestOutputKind.DELTA
        return SimpleNamespace(
            request_id=request.external_id,
            outputs=[SimpleNamespace(token_ids=new[-1:] if delta else new)],
            finished=finished,
            prompt_logprobs=None if parameters.prompt_logprobs is None else self._prompt_logprobs(request),
        )

    def _prompt_logprobs(self, request: Request) -> list[Any]:
        prompt = request.tokens[: request.num_prompt_tokens]
        told = zip(prompt[1:], prompt, strict=False)
        return [None, *({token: SimpleNamespace(logprob=logarithm(token, before))} for token, before in told)]


def install(monkeypatch: pytest.MonkeyPatch) -> type[LLMEngine]:
    """Put the fake in place of vllm and triton, and a GPU in place of none; the fake engine's class."""
    modules = {name: ModuleType(name) for name in ("vllm", "vllm.sampling_params", "vllm.inputs", "triton")}
    whole = modules["vllm"]
    whole.__dict__.update(
        __version__="0.24.0", EngineArgs=EngineArgs, LLMEngine=LLMEngine, SamplingParams=SamplingParams
    )
    modules["vllm.sampling_params"].__dict__.update(RequestOutputKind=RequestOutputKind)
    modules["vllm.inputs"].__dict__.update(
        tokens_input=lambda ids: {"type": "token", "prompt_token_ids": list(ids)},
    )
    knobs = SimpleNamespace(language=SimpleNamespace(fp32_default="ieee"))
    modules["triton"].__dict__.update(knobs=knobs)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name, value in {
        "is_available": True,
        "current_device": 0,
        "reset_peak_memory_stats": None,
        "get_device_name": "NVIDIA H200",
        "synchronize": None,
        "max_memory_reserved": 1 << 30,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr(LLMEngine, "started", [])
    return LLMEngine
