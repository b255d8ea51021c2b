"""A decoder's layer for one row as three or five of servewatt's kernels: products with their norms and activations,
attention.

Importing this needs triton; calling it a GPU, or Triton's interpreter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servewatt.checkpoints.decoder import NormPlacement, QueryKeyNorm
from servewatt.engines.torch_graph.kernels import attention as attention_kernel
from servewatt.engines.torch_graph.kernels import float_matvec, integer_matvec
from servewatt.engines.torch_graph.kernels import split_attention as split_attention_kernel
from servewatt.engines.torch_graph.kernels.matvec import Product
from servewatt.engines.torch_graph.model.step import scale_logits

if TYPE_CHECKING:
    import torch

    from servewatt.checkpoints.decoder import DecoderShape
    from servewatt.engines.torch_graph.model.matrix import Matrix
    from servewatt.engines.torch_graph.model.positions import Positions
    from servewatt.engines.torch_graph.model.weights import DecoderWeights, LayerWeights

_OVERLAPPING = (9, 0)
"""Least compute capability of devices that start a kernel before its predecessor has ended."""


def takes(shape: DecoderShape) -> bool:
    """Whether these kernels compute a layer of this decoder."""
    plain = shape.query_key_norm is QueryKeyNorm.NONE and shape.norm_placement is NormPlacement.BEFORE
    return plain and shape.attention_soft_cap is None


def _overlaps(x: torch.Tensor) -> bool:
    import torch

    return bool(x.is_cuda) and torch.cuda.get_device_capability(x.device) >= _OVERLAPPING


def multiply(shape: DecoderShape, product: Product) -> torch.Tensor:
    """The product's `out`, by the kernel for its matrix."""
    integer = product.matrix.scale is not None
    return (integer_matvec if integer else float_matvec).multiply(shape, product)


def layer(
    shape: DecoderShape,
    weights: LayerWeights,
    x: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    positions: Positions,
    attention: str = "triton",
) -> torch.Tensor:
    """The output of one layer for `x` (1, 1, hidden), residual added; key and value are written to the cache.

    `attention` is triton, or split.
    """
    import torch

    overlaps = _overlaps(x)

    def matvec(read: torch.Tensor, matrix: Matrix, out: torch.Tensor, **more: Any) -> torch.Tensor:
        return multiply(shape, Product(read, matrix, out, overlaps=overlaps, **more))

    def attended(out: torch.Tensor) -> torch.Tensor:
        kernel = split_attention_kernel if attention == "split" else attention_kernel
        return kernel.attend(shape, qkv, keys, values, positions, out=out, overlaps=overlaps)

    wide = shape.heads * shape.head_size
    qkv = x.new_empty((1, 1, shape.qkv_size))
    if weights.up is None or weights.down is None:
        both = x.new_empty((1, 1, wide + shape.inner))
        active_out = both[..., wide:]
        matvec(x, weights.qkv, qkv, norm=weights.norm, activation=shape.activation, active_out=active_out)
        attended(both[..., :wide])
        return matvec(both, weights.out, torch.empty_like(x), residual=x)
    matvec(x, weights.qkv, qkv, norm=weights.norm)
    after = matvec(attended(x.new_empty((1, 1, wide))), weights.out, torch.empty_like(x), residual=x)
    read = x if shape.parallel else after
    norm = weights.norm if weights.second_norm is None else weights.second_norm
    inner = matvec(read, weights.up, x.new_empty((1, 1, shape.inner)), norm=norm, activation=shape.activation)
    return matvec(inner, weights.down, torch.empty_like(x), residual=after)


def finish(shape: DecoderShape, weights: DecoderWeights, x: torch.Tensor) -> torch.Tensor:
    """Logits (1, vocabulary) of `x` (1, 1, hidden)."""
    out = x.new_empty((1, weights.head.weight.shape[0]))
    made = multiply(shape, Product(x, weights.head, out, norm=weights.norm, overlaps=_overlaps(x)))
    return scale_logits(shape, made)
