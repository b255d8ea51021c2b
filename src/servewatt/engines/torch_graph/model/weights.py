"""Checkpoints of the supported architectures, brought into the one form that `model.step` computes with.

Queries, keys and values become one matrix (all query heads, then key heads, then value heads), gate and up projection
another. In layers whose attention and feed-forward layer are parallel, the matrices that read the layer's input become
one, and those that write its output another: two products a layer instead of four. Where such a layer has two norms,
their weights and biases go into the matrices behind them, (n * g + b) W = n (g W) + b W, so that both read one
normalised input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from servewatt.checkpoints.decoder import DecoderShape, QueryKeyNorm
from servewatt.engines.shared.file_pages import dropping_file_pages
from servewatt.engines.torch_graph.model.checkpoint import Checkpoint, Linear, NormWeights
from servewatt.engines.torch_graph.model.matrix import Matrix, quantise_int4, quantise_int8
from servewatt.engines.torch_graph.model.names import NAMES, Parts, read_norm, stack
from servewatt.engines.torch_graph.model.packed import is_packed, pack
from servewatt.records import Model, Precision

if TYPE_CHECKING:
    import torch


class LayerWeights(NamedTuple):
    """One layer. `up` and `down` are None where they are part of `qkv` and `out`."""

    norm: NormWeights | None
    qkv: Matrix
    """Merged: (queries, keys, values, up)."""
    out: Matrix
    """Merged: inputs are (attention's output, activations)."""
    second_norm: NormWeights | None
    up: Matrix | None
    down: Matrix | None
    after_attention: NormWeights | None = None
    after_feed: NormWeights | None = None
    query_norm: NormWeights | None = None
    key_norm: NormWeights | None = None


class DecoderWeights(NamedTuple):
    """A whole decoder on one device."""

    embedding: Matrix
    """Shares its tensors with `head` where they are tied and not packed."""
    positions: torch.Tensor | None
    embedding_norm: NormWeights | None
    layers: tuple[LayerWeights, ...]
    norm: NormWeights
    head: Matrix


def _add(first: Linear, second: Linear) -> Linear:
    """Matrices whose outputs are added as one, inputs one after the other."""
    import torch

    biases = [bias for bias in (first.bias, second.bias) if bias is not None]
    bias = torch.stack([b.float() for b in biases]).sum(dim=0) if biases else None
    return Linear(torch.cat((first.weight, second.weight), dim=1), bias)


def _scale_queries(qkv: Linear, shape: DecoderShape, factor: float) -> Linear:
    """A layer's own factor of attention scores put into its queries, so that all layers run the same code."""
    factors = qkv.weight.new_ones(shape.qkv_size).float()
    factors[: shape.heads * shape.head_size] = factor
    return Linear(qkv.weight.float() * factors[:, None], None if qkv.bias is None else qkv.bias.float() * factors)


def _fold(norm: NormWeights, linear: Linear) -> Linear:
    """`linear` with the preceding norm's weight and bias folded in."""
    exact = linear.weight.float()
    bias = None if linear.bias is None else linear.bias.float()
    if norm.bias is not None:
        shift = exact @ norm.bias.float()
        bias = shift if bias is None else bias + shift
    return Linear(exact if norm.weight is None else exact * norm.weight.float(), bias)


def _scale(linear: Linear, factor: float) -> Linear:
    """`linear` with its outputs times `factor`."""
    bias = None if linear.bias is None else linear.bias.float() * factor
    return Linear(linear.weight.float() * factor, bias)


def can_merge(shape: DecoderShape) -> bool:
    """Whether both halves of a layer read one input, and nothing stands between the matrices that would be merged."""
    return shape.parallel and shape.query_key_norm is QueryKeyNorm.NONE


class Holder:
    """Converts tensors of a checkpoint to the held form: a floating type, or quantised.

    Floating matrices of `pack_from_bytes` or more are packed for oneDNN; None packs none.
    """

    def __init__(
        self, precision: Precision, dtype: torch.dtype, group: int, *, pack_from_bytes: int | None = None
    ) -> None:
        self._precision = precision
        self._dtype = dtype
        self._group = group
        self._pack_from_bytes = pack_from_bytes

    def vector(self, tensor: torch.Tensor | None) -> torch.Tensor | None:
        # Always a copy: the tensor as read may be mapped from the file.
        return None if tensor is None else tensor.to(self._dtype, copy=True)

    def norm_if_there(self, norm: NormWeights | None, shape: DecoderShape) -> NormWeights | None:
        return None if norm is None else self.norm(norm, shape)

    def norm(self, norm: NormWeights, shape: DecoderShape) -> NormWeights:
        if shape.norm_offset and norm.weight is not None:
            # 1 + a small number would lose most of the small number in half precision.
            return NormWeights(norm.weight.float(), None)
        return NormWeights(self.vector(norm.weight), self.vector(norm.bias))

    def plain(self, weight: torch.Tensor) -> Matrix:
        return Matrix(weight.to(self._dtype, copy=True).contiguous())

    def table(self, weight: torch.Tensor) -> Matrix:
        """An embedding that is only looked up: int8 where matrices are integers."""
        if self._precision in {Precision.INT8, Precision.INT4}:
            return quantise_int8(weight, self._dtype)
        return self.plain(weight)

    def matrix(self, linear: Linear) -> Matrix:
        if self._precision is Precision.INT8:
            held = quantise_int8(linear.weight, self._dtype)
        elif self._precision is Precision.INT4:
            held = quantise_int4(linear.weight, self._dtype, self._group)
        elif self._packs(linear.weight):
            held = Matrix(pack(linear.weight.to(self._dtype)))
        else:
            held = self.plain(linear.weight)
        return held._replace(bias=self.vector(linear.bias))

    def _packs(self, weight: torch.Tensor) -> bool:
        least = self._pack_from_bytes
        return least is not None and weight.numel() * self._dtype.itemsize >= least

    def tied(self, projection: Linear) -> tuple[Matrix, Matrix]:
        """Embedding and output projection: one tensor unless the latter is packed, as packed weights allow no
        lookup."""
        head = self.matrix(projection)
        return self.plain(projection.weight) if is_packed(head) else head._replace(bias=None), head

    def layer(self, parts: Parts, shape: DecoderShape, *, merge: bool) -> LayerWeights:
        norm, qkv_read, up_read = parts.norm, parts.qkv, parts.up
        if not (merge and can_merge(shape)) or norm is None:
            norms = (parts.after_attention, parts.after_feed, parts.query_norm, parts.key_norm)
            return LayerWeights(
                self.norm_if_there(norm, shape),
                self.matrix(qkv_read),
                self.matrix(parts.out),
                self.norm_if_there(parts.second_norm, shape),
                self.matrix(up_read),
                self.matrix(parts.down),
                *(self.norm_if_there(each, shape) for each in norms),
            )
        if parts.second_norm is not None:
            norm, qkv_read, up_read = NormWeights(), _fold(norm, qkv_read), _fold(parts.second_norm, up_read)
        into, out_of = self.matrix(stack(qkv_read, up_read)), self.matrix(_add(parts.out, parts.down))
        return LayerWeights(self.norm(norm, shape), into, out_of, None, None, None)


def load_decoder(
    model: Model, shape: DecoderShape, holder: Holder, device: torch.device, *, merge: bool
) -> DecoderWeights:
    """The checkpoint's weights on `device`, one layer at a time, so that at most one layer is held twice.

    InputError for broken, incomplete or misshapen weights.
    """
    source, names = Checkpoint(model, device), NAMES[shape.architecture]
    with dropping_file_pages(".safetensors"):
        table = f"{names.embedding}.weight"
        body = names.body if source.has(names.body + table) or not source.has(table) else ""
        table = body + table
        size = (shape.vocabulary, shape.hidden)
        stored_head = next((n for n in names.heads if source.has(f"{n}.weight")), names.heads[0])
        if shape.tied:
            bias = source.read_if_there(f"{stored_head}.bias", shape.vocabulary)
            embedding, head = holder.tied(Linear(source.read(table, *size), bias))
        else:
            embedding = holder.table(source.read(table, *size))
            head = holder.matrix(source.linear(stored_head, *size))
        layers = []
        for index in range(shape.layers):
            parts = names.read(source, shape, f"{body}{names.layers}.{index}")
            if shape.scaling_by_layer and index:
                parts = parts._replace(qkv=_scale_queries(parts.qkv, shape, 1 / (index + 1)))
            if shape.residual_scale != 1:
                scaled = (_scale(linear, shape.residual_scale) for linear in (parts.out, parts.down))
                parts = parts._replace(out=next(scaled), down=next(scaled))
            layers.append(holder.layer(parts, shape, merge=merge))
            source.let_go()
        positions = None
        if names.positions:
            positions = holder.vector(source.read(f"{body}{names.positions}.weight", shape.context, shape.hidden))
        embedding_norm = None
        if names.embedding_norm:
            embedding_norm = holder.norm(read_norm(source, shape, f"{body}{names.embedding_norm}"), shape)
        norm = holder.norm(read_norm(source, shape, f"{body}{names.norm}"), shape)
        return DecoderWeights(embedding, positions, embedding_norm, tuple(layers), norm, head)


def matrices_of(weights: DecoderWeights) -> list[Matrix]:
    """The matrices that the decoder multiplies by."""
    parts = [part for layer in weights.layers for part in layer if isinstance(part, Matrix)]
    return [*parts, weights.head]


def held_tensors(weights: DecoderWeights) -> list[torch.Tensor]:
    """Every tensor that the decoder holds; a tied head's appear twice."""
    import torch

    def walk(value: object) -> list[torch.Tensor]:
        if isinstance(value, torch.Tensor):
            return [value]
        return [tensor for part in value for tensor in walk(part)] if isinstance(value, tuple) else []

    return walk(weights)
