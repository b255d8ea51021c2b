"""Attention of a decoder over a static key-value cache, in plain torch that inductor compiles, or by our kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from servewatt.checkpoints.decoder import DecoderShape
    from servewatt.engines.torch_graph.model.positions import Positions

READS_ALL = frozenset({"sdpa", "fused"})
"""Kinds of attention of one token a row that multiply masked columns by 0. 0 x NaN is NaN, so the cache must hold none
for them; the others read no masked column."""


def reads_all(shape: DecoderShape, attention: str) -> bool:
    """Whether some step may multiply masked columns by 0."""
    return attention in READS_ALL or any(shape.windows) or shape.attention_soft_cap is not None


def _rotate(x: torch.Tensor, positions: Positions) -> torch.Tensor:
    """Rotary embedding of `x` (batch, tokens, heads, size): each component with its partner.

    By index instead of by halves put together again: that is one kernel when compiled.
    """
    if positions.cosines is None or positions.sines is None or positions.partners is None:
        return x
    turned = x.float() * positions.cosines + x[..., positions.partners].float() * positions.sines
    return turned.to(x.dtype)


def attend(
    shape: DecoderShape,
    qkv: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    positions: Positions,
    attention: str,
) -> torch.Tensor:
    """Write keys and values of `qkv` (batch, tokens, ...) to the cache and attend: (batch, tokens, heads x size).

    `keys` and `values` are (batch, kv heads, KV length, size). With several tokens the cache is taken to be
    empty before them. `attention` of one token a row is sdpa, fused (what inductor fuses), triton or split.
    """
    batch, tokens = qkv.shape[:2]
    if tokens == 1 and attention == "triton":
        from servewatt.engines.torch_graph.kernels import attention as attention_kernel

        return attention_kernel.attend(shape, qkv, keys, values, positions)
    if tokens == 1 and attention == "split":
        from servewatt.engines.torch_graph.kernels import split_attention as split_attention_kernel

        return split_attention_kernel.attend(shape, qkv, keys, values, positions)
    split = qkv.view(batch, tokens, -1, shape.head_size)
    turned, v = split[:, :, : shape.heads + shape.kv_heads], split[:, :, shape.heads + shape.kv_heads :]
    turned = _rotate(turned, positions)
    q, k = turned[:, :, : shape.heads], turned[:, :, shape.heads :]
    k, v = k.transpose(1, 2), v.transpose(1, 2)
    if tokens > 1 and reads_all(shape, attention):
        # Outputs of padding tokens are unused, but may have overflowed in fp16.
        padded = (positions.columns[None] < positions.padding[:, None])[:, None, :, None]
        k, v = k.masked_fill(padded, 0), v.masked_fill(padded, 0)
    keys.index_copy_(2, positions.columns, k)
    values.index_copy_(2, positions.columns, v)
    if tokens == 1:
        grouped = q.reshape(batch, shape.kv_heads, shape.groups, shape.head_size)
        mask = positions.mask
        if mask.shape[1] > 1:
            mask = mask.view(batch, shape.kv_heads, shape.groups, -1)
        made = _attend_one(grouped, keys, values, mask, shape, attention)
        return made.reshape(batch, 1, shape.heads * shape.head_size)
    return _attend_many(shape, q.transpose(1, 2), k, v, positions.mask)


def _attend_one(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, shape: DecoderShape, attention: str
) -> torch.Tensor:
    """One token a row: queries that share keys stand where several tokens would, (batch, kv heads, groups, size)."""
    import torch

    if shape.attention_soft_cap is not None:
        return _attend_capped(shape, q, keys, values, mask)
    if attention == "sdpa":
        return torch.nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=shape.scaling)
    scores = (q[:, :, :, None].float() * keys[:, :, None].float()).sum(-1) * shape.scaling
    shares = (scores + mask).softmax(dim=-1)
    return (shares[..., None] * values[:, :, None].float()).sum(-2).to(q.dtype)


def _attend_many(
    shape: DecoderShape, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    import torch

    batch, _, tokens, size = q.shape
    if shape.groups > 1:
        wide = (batch, shape.kv_heads, shape.groups, tokens, size)
        k, v = (t[:, :, None].expand(wide).reshape(batch, shape.heads, tokens, size) for t in (k, v))
    if shape.attention_soft_cap is not None:
        made = _attend_capped(shape, q, k, v, mask)
    else:
        made = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=shape.scaling)
    return made.transpose(1, 2).reshape(batch, tokens, shape.heads * size)


def _attend_capped(
    shape: DecoderShape, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Attention whose scores are capped before they are masked, as Gemma 2's, which no library kernel does."""
    cap = shape.attention_soft_cap
    assert cap is not None
    scores = q.float() @ k.float().transpose(-1, -2) * shape.scaling
    shares = ((scores / cap).tanh() * cap + mask).softmax(dim=-1)
    return (shares @ v.float()).to(q.dtype)
