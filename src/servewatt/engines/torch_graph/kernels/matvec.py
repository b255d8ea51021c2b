"""Shared code of the Triton kernels for a decode step of one row: what a product is, and how it is begun.

Importing this needs triton; calling it a GPU, or Triton's interpreter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import triton
import triton.language as tl

from servewatt.checkpoints.decoder import Activation, Norm

if TYPE_CHECKING:
    import torch

    from servewatt.checkpoints.decoder import DecoderShape
    from servewatt.engines.torch_graph.model.checkpoint import NormWeights
    from servewatt.engines.torch_graph.model.matrix import Matrix

FIRST_WAVE = 528
"""Programs that may be resident before the previous kernel has ended: four for each of an H200's processors."""
ACTIVATIONS = {Activation.GELU: 1, Activation.GELU_TANH: 2, Activation.SILU: 3, Activation.RELU: 4}
NORMS = {Norm.LAYER: 1, Norm.RMS: 2}
LAYER_NORM = tl.constexpr(NORMS[Norm.LAYER])
_GELU, _GELU_TANH, _SILU, _RELU = (tl.constexpr(number) for number in ACTIVATIONS.values())


@triton.jit  # type: ignore[untyped-decorator]
def activated(x, ACTIVATION: tl.constexpr):  # type: ignore[no-untyped-def]
    """`x`, fp32, activated."""
    if ACTIVATION == _GELU:
        x = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    elif ACTIVATION == _GELU_TANH:
        # 1/2 (1 + tanh u) is the logistic function of 2u.
        x = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    elif ACTIVATION == _SILU:
        x = x * tl.sigmoid(x)
    elif ACTIVATION == _RELU:
        x = tl.maximum(x, 0.0)
    return x


@triton.jit  # type: ignore[untyped-decorator]
def store(  # type: ignore[no-untyped-def]
    made, out, active_out, n, outputs, GATED: tl.constexpr, ACTIVATION: tl.constexpr, FIRST_ACTIVE: tl.constexpr,
):  # fmt: skip
    """Write outputs `n` of a product, (rows,), fp32; from FIRST_ACTIVE on they are activated and written to
    `active_out`."""
    real = n < outputs
    if ACTIVATION and not GATED:
        active = n >= FIRST_ACTIVE
        tl.store(out + n, made.to(out.dtype.element_ty), mask=real & ~active)
        made = activated(made, ACTIVATION).to(out.dtype.element_ty)
        tl.store(active_out + n - FIRST_ACTIVE, made, mask=real & active)
    else:
        tl.store(out + n, made.to(out.dtype.element_ty), mask=real)


@dataclass(frozen=True)
class Product:
    """`out` (..., outputs) = a matrix times the norm of `x` (..., inputs), one vector, plus bias and residual.

    With `activation` the result is activated; a matrix with twice the outputs of `out` has the gate's first. With
    `active_out` only what goes beyond `out` is activated, and goes there.
    """

    x: torch.Tensor
    matrix: Matrix
    out: torch.Tensor
    norm: NormWeights | None = None
    residual: torch.Tensor | None = None
    activation: Activation | None = None
    active_out: torch.Tensor | None = None
    overlaps: bool = False
    """Whether the device can start a kernel before its predecessor has ended."""

    @property
    def gated(self) -> bool:
        """Whether the matrix holds rows in pairs, a gate's and another."""
        alone = self.activation is not None and self.active_out is None
        return alone and self.matrix.weight.shape[0] == 2 * self.out.numel()

    @property
    def outputs(self) -> int:
        """Rows of the matrix, or pairs of them."""
        return int(self.out.numel() if self.gated else self.matrix.weight.shape[0])


def launch(
    kernel: Any,
    programs: int,
    warps: int,
    shape: DecoderShape,
    product: Product,
    matrix: Sequence[torch.Tensor],
    **constants: int | bool,
) -> None:
    """Run a product's kernel with `x`, the matrix's tensors, and the arguments common to all products."""
    x, out, active_out, bias = product.x, product.out, product.active_out, product.matrix.bias
    weight, shift = (None, None) if product.norm is None else product.norm
    kernel[(programs,)](
        x, *matrix, x if bias is None else bias, x if weight is None else weight, x if shift is None else shift,
        x if product.residual is None else product.residual, out, out if active_out is None else active_out,
        product.outputs, shape.epsilon,
        NORM=0 if product.norm is None else NORMS[shape.norm], WEIGHTED=weight is not None, SHIFTED=shift is not None,
        BIASED=bias is not None, ADDED=product.residual is not None, GATED=product.gated,
        ACTIVATION=0 if product.activation is None else ACTIVATIONS[product.activation],
        FIRST_ACTIVE=0 if active_out is None else out.numel(), OVERLAPS=product.overlaps, FIRST_WAVE=FIRST_WAVE,
        num_warps=warps, **constants, **({"launch_pdl": True} if product.overlaps else {}),
    )  # fmt: skip
