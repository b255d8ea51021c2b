"""A causal language model as a graph over a cache of fixed capacity, so that no shape changes from step to step.

What `servewatt.engines.shared.causal_graph` makes, with a cache that is written instead of lengthened. Inputs: `ids`
(batch, new), `padding` (batch), `places` (new), the columns of the cache that the new tokens take, `columns`
(capacity), their numbers from 0, and, for each layer, `key.N` and `value.N` (batch, heads, capacity, head size).
Outputs: `logits` (batch, vocabulary) of the last position, `next_ids` (batch, 1), `next_places` (1), the column after
the last, and `present_key.N`, `present_value.N`, the cache with the new columns written.

Every output of a step may lie where its input of the same shape does: each part of the cache is read only by the
operator that writes to it, `next_ids` and `next_places` come last. Columns that are not yet written must hold finite
numbers. Nothing but shapes is computed from shapes, so that in a CUDA session no operator waits for the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servewatt.engines.shared.causal_graph import CacheShape, additive, masked_sdpa
from servewatt.engines.shared.torch_model import takes_position_ids

if TYPE_CHECKING:
    import torch

STATIC_ATTENTION = "servewatt_static_graph"
"""Name under which this graph's attention is registered with transformers."""
OWN_INPUTS = ("ids", "padding", "places", "columns")
OWN_OUTPUTS = ("logits", "next_ids", "next_places")


def _mask(
    *,
    q_offset: torch.Tensor,
    kv_length: torch.Tensor,
    attention_mask: torch.Tensor,
    dtype: torch.dtype,
    **kwargs: object,
) -> torch.Tensor:
    """Additive, shape (batch, 1, new, capacity); of `_static_layer`, offset and length are places and columns."""
    import torch

    seen = kv_length[None, :] <= q_offset[:, None]
    return additive(seen[None, None] & attention_mask[:, None, None, :].to(torch.bool), dtype)


def build_static_graph(module: Any) -> torch.nn.Module:
    """`module` as a function of flat tensors: (ids, padding, places, columns, *cache) -> all outputs in order.

    The module's own attention is replaced.
    """
    import torch
    from transformers import AttentionInterface, DynamicCache
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(STATIC_ATTENTION, masked_sdpa)
    AttentionMaskInterface.register(STATIC_ATTENTION, _mask)
    module.config._attn_implementation = STATIC_ATTENTION
    with_positions = takes_position_ids(module)

    class StaticGraph(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(
            self,
            ids: torch.Tensor,
            padding: torch.Tensor,
            places: torch.Tensor,
            columns: torch.Tensor,
            *past: torch.Tensor,
        ) -> tuple[torch.Tensor, ...]:
            mask = columns[None] >= padding[:, None]
            inputs: dict[str, Any] = {}
            if with_positions:
                inputs["position_ids"] = (places[None] - padding[:, None]).clamp(min=0)
            cache = DynamicCache()
            cache.layers = [_static_layer(k, v, places, columns) for k, v in zip(past[::2], past[1::2], strict=True)]
            out = self.model(
                input_ids=ids,
                attention_mask=mask.to(torch.int64),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                **inputs,
            )
            logits = out.logits[:, -1].float()
            next_ids = logits.argmax(dim=-1, keepdim=True)
            # 1, but known only when the last id is: all of the step has then read the places it is written over.
            one = (next_ids[0] >= 0).to(torch.int64)
            present = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
            return (logits, next_ids, places[-1:] + one, *present)

    return StaticGraph().eval()


def _static_layer(keys: torch.Tensor, values: torch.Tensor, places: torch.Tensor, columns: torch.Tensor) -> Any:
    """A cache layer of fixed capacity; it tells transformers' masks places for its length and columns for its size."""
    from transformers.cache_utils import DynamicLayer

    class StaticLayer(DynamicLayer):  # type: ignore[misc]
        keys: Any
        values: Any

        def update(self, key_states: Any, value_states: Any, *args: object, **kwargs: object) -> tuple[Any, Any]:
            self.keys = _written(self.keys, key_states, places)
            self.values = _written(self.values, value_states, places)
            return self.keys, self.values

        def get_seq_length(self) -> Any:
            return places

        def get_mask_sizes(self, query_length: int) -> tuple[Any, int]:
            return columns, 0

    layer = StaticLayer()
    layer.dtype, layer.device = keys.dtype, keys.device
    layer.keys, layer.values = keys, values
    layer.is_initialized = True
    return layer


def _written(cache: torch.Tensor, new: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """`cache` (batch, heads, capacity, size) with the columns `places` from `new` (batch, heads, new, size).

    A scatter along the columns: indexing would be exported with the cache transposed and back.
    """
    return cache.scatter(2, places[None, None, :, None].expand(new.shape), new)


def static_example_inputs(module: Any, cache: CacheShape, capacity: int = 7, new: int = 2) -> tuple[torch.Tensor, ...]:
    """Inputs to trace with: two rows, one of them padded."""
    import torch

    weight = next(module.parameters())
    ids = torch.ones((2, new), dtype=torch.int64, device=weight.device)
    padding = torch.tensor([0, 1], device=weight.device)
    places, columns = (torch.arange(n, device=weight.device) for n in (new, capacity))
    states = (
        torch.zeros((2, heads, capacity, size), dtype=weight.dtype, device=weight.device) for heads, size in cache.flat
    )
    return (ids, padding, places, columns, *states)
