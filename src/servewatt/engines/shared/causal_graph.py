"""The one form of a causal language model that torchscript, onnx and openvino turn into a graph.

One graph serves prefill and decode. Inputs: `ids` (batch, new), `padding` (batch) and, for each layer, `key.N` and
`value.N` (batch, heads, past, head size), where past may be 0. Outputs: `logits` (batch, vocabulary) of the last
position, `next_ids` (batch, 1), their argmax, and `present_key.N`, `present_value.N`. `padding` is the number of
padding tokens on the left of each row: mask and positions follow from it and from the cache's length, so nothing
but ids and cache changes from step to step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from servewatt.checkpoints.rotary import CHANGING, rotary_settings
from servewatt.engines.shared.torch_model import takes_position_ids
from servewatt.errors import RefusedError

if TYPE_CHECKING:
    import torch

GRAPH_ATTENTION = "servewatt_graph"
"""Name under which the attention below is registered with transformers."""


@dataclass(frozen=True)
class CacheShape:
    """Shape of each layer's keys and values but for batch and length: (heads, size) pairs."""

    keys: tuple[tuple[int, int], ...]
    values: tuple[tuple[int, int], ...]

    @property
    def flat(self) -> tuple[tuple[int, int], ...]:
        """In the order of the graph's inputs: key and value of each layer in turn."""
        return tuple(shape for pair in zip(self.keys, self.values, strict=True) for shape in pair)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(f"{kind}.{layer}" for layer in range(len(self.keys)) for kind in ("key", "value"))

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(f"present_{name}" for name in self.input_names)


def register_attention() -> str:
    """Make transformers' models call sdpa with an explicit mask, which holds for any length; returns its name.

    transformers' own sdpa function branches on lengths while Python runs, which a trace would freeze.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(GRAPH_ATTENTION, masked_sdpa)
    AttentionMaskInterface.register(GRAPH_ATTENTION, _additive_mask)
    return GRAPH_ATTENTION


def _additive_mask(  # noqa: PLR0913  the signature is transformers'
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    *,
    mask_function: Callable[..., torch.Tensor],
    attention_mask: torch.Tensor,
    dtype: torch.dtype,
    device: torch.device,
    **kwargs: object,
) -> torch.Tensor:
    """0 where a query may look, half the type's least number elsewhere, shape (batch, 1, queries, keys).

    Not minus infinity: the queries of padding tokens may look nowhere at all, and a softmax over infinities would
    put NaN into their keys and values. Half of the least number, because fp16 overflows to infinity when a score of
    -16 is added to its least.
    """
    import torch

    queries = (torch.arange(q_length, device=device) + q_offset)[None, None, :, None]
    keys = (torch.arange(kv_length, device=device) + kv_offset)[None, None, None, :]
    rows = torch.arange(batch_size, device=device)[:, None, None, None]
    allowed = mask_function(rows, torch.zeros_like(rows), queries, keys)
    allowed = allowed & attention_mask[:, None, None, :].to(torch.bool)
    return additive(allowed, dtype)


def additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where `allowed`, half the type's least number elsewhere."""
    import torch

    nothing = torch.zeros((), dtype=dtype, device=allowed.device)
    return torch.where(allowed, nothing, torch.finfo(dtype).min / 2)


def masked_sdpa(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention under an additive mask; keys shared by groups of query heads are repeated."""
    import torch

    if kwargs.get("softcap") is not None:
        raise RefusedError("attention with a soft cap is not supported by graph engines", "use engine torch")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = _repeat_heads(key, groups), _repeat_heads(value, groups)
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling
    )
    return output.transpose(1, 2).contiguous(), None


def _repeat_heads(states: torch.Tensor, groups: int) -> torch.Tensor:
    batch, heads, length, size = states.shape
    return states[:, :, None].expand(batch, heads, groups, length, size).reshape(batch, heads * groups, length, size)


def build_causal_graph(module: Any) -> torch.nn.Module:
    """`module` as a function of flat tensors: (ids, padding, *past) -> (logits, next_ids, *present)."""
    import torch
    from transformers import DynamicCache

    with_positions = takes_position_ids(module)

    class CausalGraph(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, ids: torch.Tensor, padding: torch.Tensor, *past: torch.Tensor) -> tuple[torch.Tensor, ...]:
            past_length, new = past[0].shape[2], ids.shape[1]
            columns = torch.arange(past_length + new, device=ids.device)
            mask = columns[None] >= padding[:, None]
            inputs: dict[str, Any] = {}
            if with_positions:
                inputs["position_ids"] = (columns[past_length:][None] - padding[:, None]).clamp(min=0)
            cache = DynamicCache()
            cache.layers = [_filled_layer(k, v) for k, v in zip(past[::2], past[1::2], strict=True)]
            out = self.model(
                input_ids=ids,
                attention_mask=mask.to(torch.int64),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                **inputs,
            )
            logits = out.logits[:, -1].float()
            present = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
            return (logits, logits.argmax(dim=-1, keepdim=True), *present)

    return CausalGraph().eval()


def _filled_layer(keys: torch.Tensor, values: torch.Tensor) -> Any:
    """A cache layer that already holds keys and values; a lazily initialised one cannot be traced."""
    from transformers.cache_utils import DynamicLayer

    layer = DynamicLayer()
    layer.dtype, layer.device = keys.dtype, keys.device
    layer.keys, layer.values = keys, values
    layer.is_initialized = True
    return layer


def probe_cache(module: Any) -> CacheShape:
    """The cache's shape, found by running the model on two tokens; RefusedError for caches that are not key-value."""
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    _refuse_changing_angles(module.config)
    cache = DynamicCache(config=module.config)
    device = next(module.parameters()).device
    two = torch.ones((1, 2), dtype=torch.int64, device=device)
    with torch.no_grad():
        module(input_ids=two, attention_mask=two, past_key_values=cache, use_cache=True, logits_to_keep=1)
    for layer in cache.layers:
        # The graph keeps every column, whatever the window, and the mask hides those before it.
        if type(layer) not in {DynamicLayer, DynamicSlidingWindowLayer}:
            kind = type(layer).__name__
            raise RefusedError(f"{type(module).__name__}: a {kind} cache cannot be exported", "use engine torch")
    return CacheShape(
        tuple((layer.keys.shape[1], layer.keys.shape[3]) for layer in cache.layers),
        tuple((layer.values.shape[1], layer.values.shape[3]) for layer in cache.layers),
    )


def _refuse_changing_angles(config: Any) -> None:
    """RefusedError for rotary embeddings whose angles depend on the row's length: a graph would fix those it saw."""
    kind = rotary_settings(config.to_dict()).kind
    if kind in CHANGING:
        raise RefusedError(f"rotary embeddings of type {kind!r} cannot be exported", "use engine torch")


def example_inputs(module: Any, cache: CacheShape, past: int = 3, new: int = 2) -> tuple[torch.Tensor, ...]:
    """Inputs to trace with: two rows, one of them padded, over a cache of `past` tokens."""
    import torch

    weight = next(module.parameters())
    ids = torch.ones((2, new), dtype=torch.int64, device=weight.device)
    padding = torch.tensor([0, 1], device=weight.device)
    states = (
        torch.zeros((2, heads, past, size), dtype=weight.dtype, device=weight.device) for heads, size in cache.flat
    )
    return (ids, padding, *states)


def trace_graph(module: Any, cache: CacheShape) -> Any:
    """`module` as a traced TorchScript graph that holds for any batch, number of new tokens and cache length."""
    import torch

    with torch.no_grad(), tracer_noise_accepted():
        return torch.jit.trace(
            build_causal_graph(module), example_inputs(module, cache), check_trace=False, strict=False
        )


@contextmanager
def tracer_noise_accepted() -> Iterator[None]:
    """What tracing warns of, and why it is no news.

    TorchScript is deprecated, but it is the subject here. The modelling code's branches on shapes become fixed, but
    those that remain do not depend on batch or length: tests run the trace at others. The tracer reads a module's
    deprecated properties.
    """
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*`torch\.jit\.\w+` is (deprecated|not supported)")
        warnings.filterwarnings("ignore", message=r"`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield


def empty_cache(cache: CacheShape, batch: int, make: Callable[[tuple[int, int, int, int]], Any]) -> Sequence[Any]:
    """One empty tensor for each of the graph's cache inputs, made by `make(shape)`."""
    return [make((batch, heads, 0, size)) for heads, size in cache.flat]
