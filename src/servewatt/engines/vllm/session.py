"""A running vLLM engine: its requests, its steps, and its effective settings."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from servewatt.engines.base import Step
from servewatt.engines.shared.decode_proof import DecodeProof
from servewatt.engines.shared.host import library_versions
from servewatt.engines.shared.torch_model import (
    arithmetic_detail,
    dtype_name,
    held_devices,
    held_weights,
    tf32_settings,
)
from servewatt.engines.vllm.settings import VllmSettings
from servewatt.errors import InputError, RefusedError
from servewatt.records import Facts


class _Rows:
    """Tokens of each row as vLLM hands them over, made into steps of all rows."""

    def __init__(self, names: Iterable[str]) -> None:
        self._row = {name: row for row, name in enumerate(names)}
        self._waiting: list[deque[int]] = [deque() for _ in self._row]
        self._ended = [False] * len(self._row)

    def take(self, outputs: Iterable[Any]) -> None:
        """Note what one engine step yielded."""
        for output in outputs:
            row = self._row.get(output.request_id)
            if row is not None:  # else of a generation that was broken off
                self._waiting[row].extend(output.outputs[0].token_ids)
                self._ended[row] = output.finished

    @property
    def complete(self) -> bool:
        """Whether each row that goes on has its next token."""
        return all(tokens or ended for tokens, ended in zip(self._waiting, self._ended, strict=True))

    @property
    def over(self) -> bool:
        """Whether every row has ended and its tokens are given out."""
        return all(ended and not tokens for tokens, ended in zip(self._waiting, self._ended, strict=True))

    def step(self) -> tuple[int | None, ...]:
        """The next token of each row; None where it has ended."""
        return tuple(tokens.popleft() if tokens else None for tokens in self._waiting)

    @property
    def unended(self) -> list[str]:
        """Names of the rows that have not ended."""
        return [name for name, row in self._row.items() if not self._ended[row]]


class VllmSession:
    """A loaded engine and its requests, one a row."""

    def __init__(self, engine: Any, settings: VllmSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._asked = 0
        self._proof: DecodeProof | None = None

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int] = frozenset()
    ) -> Iterator[Step]:
        """Greedy decoding; see `servewatt.engines.base.Session.generate`.

        A Step is complete once every row that goes on has its token. Where the prompts take several engine steps,
        the rows taken in first are ahead by then, and the Steps that they have complete share their time.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._require_room([len(prompt) + max_new_tokens for prompt in prompts])
        parameters = SamplingParams(
            temperature=0.0,
            max_tokens=max_new_tokens,
            ignore_eos=True,
            stop_token_ids=sorted(stop_ids),
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        rows = _Rows([self._ask(prompt, parameters) for prompt in prompts])
        try:
            while not rows.over:
                while not rows.complete:
                    rows.take(self._step())
                if not rows.over:
                    yield Step(rows.step(), time.monotonic())
        finally:
            if left := rows.unended:
                self._engine.abort_request(left)

    def log_probabilities(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Natural logarithm of the probability of each token of each row after its first, given those before it.

        As vLLM takes prompts in, whole rows a step, their keys and values written to its cache. One more token than
        a row has must fit into the length, because vLLM generates at least one.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._require_room([len(row) + 1 for row in rows])
        parameters = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            ignore_eos=True,
            prompt_logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        found: list[list[float]] = [[] for _ in rows]
        asked = {self._ask(row, parameters): index for index, row in enumerate(rows) if len(row) > 1}
        while asked:
            for output in self._engine.step():
                index = asked.pop(output.request_id, None)
                if index is not None:
                    following = zip(rows[index][1:], output.prompt_logprobs[1:], strict=True)
                    found[index] = [float(chances[token].logprob) for token, chances in following]
        return found

    def _require_room(self, lengths: Sequence[int]) -> None:
        """InputError for rows longer than vLLM was started for, RefusedError if they do not fit into its cache.

        vLLM would cut the former short, and throw away and compute again what it has no room for of the latter.
        """
        most, cache = self._settings.length, self._engine.vllm_config.cache_config
        if max(lengths) > most:
            raise InputError(
                f"a row of {max(lengths)} tokens, prompt and generation, exceeds the {most} that vllm was started for",
                f"--option length={max(lengths)}, or shorter prompts",
            )
        at_once = sorted(lengths)[-self._settings.sequences :]
        blocks = sum(-(-length // cache.block_size) for length in at_once)
        # One block stands for what is not there.
        held = cache.num_gpu_blocks - 1
        if blocks > held:
            raise RefusedError(
                f"{len(at_once)} rows need {blocks} blocks of vllm's KV cache, which has {held}",
                "raise option memory, lower the batch, or set option sequences",
            )

    def _ask(self, prompt: Sequence[int], parameters: Any) -> str:
        """Hand a row to vLLM; the name by which its outputs are known."""
        from vllm.inputs import tokens_input

        self._asked += 1
        name = str(self._asked)
        self._engine.add_request(name, tokens_input(list(prompt)), parameters)
        return name

    def _step(self) -> list[Any]:
        """One engine step; the first decode step also records its effect on the cache."""
        if self._proof is not None:
            outputs: list[Any] = self._engine.step()
            return outputs
        running = self._engine.engine_core.engine_core.scheduler.running
        request = next((r for r in running if r.num_computed_tokens >= r.num_prompt_tokens), None)
        before = 0 if request is None else request.num_computed_tokens
        outputs = self._engine.step()
        if request is not None and request.num_computed_tokens > before:
            after = request.num_computed_tokens
            self._proof = DecodeProof(after - before, before, after, dtype_name(self._runner().kv_caches[0].dtype))
        return outputs

    def _runner(self) -> Any:
        """vLLM's model runner, which holds weights and cache."""
        return self._engine.model_executor.driver_worker.worker.model_runner

    def synchronize(self) -> None:
        import torch

        torch.cuda.synchronize()

    def peak_device_bytes(self) -> int | None:
        """Memory that vLLM took for weights, graphs and its whole KV cache, used or not."""
        import torch

        return int(torch.cuda.max_memory_reserved())

    def facts(self) -> Facts:
        import torch
        import vllm

        runner, config, proof = self._runner(), self._engine.vllm_config, self._proof
        held = list(runner.get_model().parameters())
        return Facts(
            engine_version=vllm.__version__,
            libraries=library_versions(("vllm", "torch", "triton", "transformers", "flashinfer-python", "numpy")),
            devices=held_devices(held),
            weight_dtypes=held_weights(held),
            compute_dtype=dtype_name(max(held, key=lambda tensor: tensor.numel()).dtype),
            kv_cache=proof is not None and proof.reuses_cache,
            kv_cache_dtype="" if proof is None else proof.cache_dtype,
            threads=torch.get_num_threads(),
            options=(("scheduling", "async" if config.scheduler_config.async_scheduling else "sync"),),
            cuda_graphs=config.compilation_config.cudagraph_mode.name.lower(),
            prefix_caching=bool(config.cache_config.enable_prefix_caching),
            tf32=(*tf32_settings(), *(("triton_tf32",) if _triton_tf32() else ())),
            detail=(*_how_it_runs(runner, config), *arithmetic_detail(), ("triton_tf32", str(_triton_tf32()).lower())),
        )

    def close(self) -> None:
        self._engine.engine_core.shutdown()
        self._engine = None


def _how_it_runs(runner: Any, config: Any) -> tuple[tuple[str, str], ...]:
    """vLLM's effective settings."""
    attention = sorted({group.backend.get_name() for groups in runner.attn_groups for group in groups})
    compilation, cache, scheduler = config.compilation_config, config.cache_config, config.scheduler_config
    sizes = compilation.cudagraph_capture_sizes or ()
    return (
        ("attention", " ".join(attention)),
        ("cuda_graphs", compilation.cudagraph_mode.name.lower()),
        ("cuda_graph_sizes", " ".join(map(str, sizes)) or "none"),
        ("prefix_caching", str(cache.enable_prefix_caching).lower()),
        ("scheduling", "async" if scheduler.async_scheduling else "sync"),
        ("sequences", str(scheduler.max_num_seqs)),
        ("prefill_tokens", str(scheduler.max_num_batched_tokens)),
        ("length", str(config.model_config.max_model_len)),
        ("kv_cache_blocks", str(cache.num_gpu_blocks)),
        ("kv_cache_block_tokens", str(cache.block_size)),
        ("memory", str(cache.gpu_memory_utilization)),
        ("model_runner", type(runner).__module__),
    )


def _triton_tf32() -> bool:
    """Whether Triton's kernels multiply fp32 in TF32 where they do not say how."""
    from triton import knobs

    return bool(knobs.language.fp32_default != "ieee")
