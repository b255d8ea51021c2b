"""The Triton kernel of attention in a decode step, in Triton's interpreter, beside plain torch."""

from __future__ import annotations

from tests.engines.triton_interpreter import MARKS  # isort: split

from typing import TYPE_CHECKING

import pytest
import torch

from servewatt.checkpoints.decoder import Activation, DecoderShape, Norm
from servewatt.checkpoints.rotary import Rotary
from servewatt.engines.torch_graph.kernels.attention import attend
from servewatt.engines.torch_graph.model import attention as decoder_attention
from servewatt.engines.torch_graph.model.positions import Positions, make_tables
from servewatt.engines.torch_graph.model.step import most_likely

if TYPE_CHECKING:
    from torch import Tensor
    from torch import dtype as DType  # noqa: N812

pytestmark = MARKS

LOOKED_AT = 160
POSITION = 137


def shape_of(heads: int, kv_heads: int, size: int, *, rotary: int = 0, alibi: bool = False) -> DecoderShape:
    """A decoder of which attention alone matters."""
    return DecoderShape(
        "Some", 64, 256, heads * size, 64, 1, heads, kv_heads, size, Norm.LAYER, 1e-5, Activation.SILU, True,
        rotary=Rotary(rotary) if rotary else None, alibi=alibi, scaling=size**-0.5,
    )  # fmt: skip


def place_of(shape: DecoderShape, batch: int) -> Positions:
    """A step at `POSITION`, rows padded by 0, 5, 10 ... columns."""
    tables = make_tables(shape, torch.device("cpu"))
    padding = torch.arange(batch) * 5
    columns = torch.tensor([POSITION])
    keys = torch.arange(LOOKED_AT)
    seen = (keys[None] >= padding[:, None]) & (keys[None] <= POSITION)
    bias = torch.zeros(1, 1, 1, 1)
    if tables.slopes is not None:
        bias = (tables.slopes[:, None, None] * (keys - POSITION).float())[None]
    mask = torch.where(seen[:, None, None], bias, float("-inf"))
    cosines = sines = None
    if tables.cosines is not None and tables.sines is not None:
        positions = POSITION - padding
        cosines, sines = tables.cosines[positions][:, None, None], tables.sines[positions][:, None, None]
    return Positions(columns, cosines, sines, tables.partners, mask, padding, tables.slopes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize(
    "shape",
    [
        shape_of(4, 4, 64, rotary=16),
        shape_of(4, 4, 80, rotary=20),
        shape_of(3, 3, 64, alibi=True),
        shape_of(6, 2, 32, rotary=32),
        shape_of(12, 1, 64),
        shape_of(4, 2, 16, alibi=True),
    ],
    ids=["rotary", "odd-size", "alibi", "grouped", "multi-query", "grouped-alibi"],
)
def test_attention_is_that_of_plain_torch(shape: DecoderShape, dtype: DType) -> None:
    generator = torch.Generator().manual_seed(0)
    batch = 3

    def some(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).to(dtype)

    # Wider than what is read of it, as where it is one product with the feed-forward layer's.
    qkv = some(batch, 1, shape.qkv_size + 7)[..., : shape.qkv_size]
    room = (batch, shape.kv_heads, LOOKED_AT + 96, shape.head_size)
    keys, values = some(*room), some(*room)
    place = place_of(shape, batch)
    expected_keys, expected_values = keys.clone(), values.clone()
    plain = decoder_attention.attend(
        shape, qkv, expected_keys[:, :, :LOOKED_AT], expected_values[:, :, :LOOKED_AT], place, "fused"
    )
    made = attend(shape, qkv, keys[:, :, :LOOKED_AT], values[:, :, :LOOKED_AT], place)
    tolerance = 1e-5 if dtype is torch.float32 else 5e-3
    torch.testing.assert_close(made, plain, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(keys, expected_keys, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(values, expected_values)


def test_columns_that_are_padding_or_not_filled_do_not_matter() -> None:
    shape = shape_of(2, 2, 16)
    place = place_of(shape, 2)
    qkv = torch.ones(2, 1, shape.qkv_size)
    keys = torch.zeros(2, 2, LOOKED_AT, 16)
    values = torch.full_like(keys, float("nan"))
    for row, padding in enumerate(place.padding.tolist()):
        values[row, :, padding:POSITION] = 3.0
    made = attend(shape, qkv, keys, values, place)
    # Scores: 0 of each of the columns before, and 16 * 16**-0.5 = 4 of its own.
    for row, padding in enumerate(place.padding.tolist()):
        others, own = POSITION - padding, torch.tensor(4.0).exp()
        torch.testing.assert_close(made[row], ((others * 3.0 + own) / (others + own)).expand_as(made[row]))


@pytest.mark.parametrize("vocabulary", [5, 256, 1000])
def test_the_first_of_the_greatest_is_picked(vocabulary: int) -> None:
    logits = torch.zeros(3, vocabulary)
    logits[1, vocabulary - 1] = 1.0
    logits[2, 2] = logits[2, 4] = 0.5
    assert most_likely(logits).tolist() == [0, vocabulary - 1, 2]
