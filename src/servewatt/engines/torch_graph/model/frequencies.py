"""Frequencies of rotary embeddings, as transformers' `modeling_rope_utils.py` computes them (in fp32)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from servewatt.checkpoints.rotary import LONGROPE, Rotary

if TYPE_CHECKING:
    import torch


def frequencies(rotary: Rotary, device: torch.device, *, longer: bool = False) -> torch.Tensor:
    """Angle a position, fp32, (size / 2,); `longer` for rows beyond longrope's original context.

    Those of dynamic scaling hold up to the model's context, beyond which no row goes.
    """
    import torch

    exponents = torch.arange(0, rotary.size, 2, dtype=torch.float32, device=device) / rotary.size
    if rotary.kind == LONGROPE:
        factors = torch.tensor(rotary.long_factors if longer else rotary.short_factors, device=device)
        made: torch.Tensor = 1.0 / (factors * rotary.base**exponents)
        return made
    plain = 1.0 / (rotary.base**exponents)
    if rotary.kind == "linear":
        return plain / rotary.factor
    if rotary.kind == "llama3":
        return _llama3(rotary, plain)
    if rotary.kind == "yarn":
        return _yarn(rotary, plain)
    return plain


def _llama3(rotary: Rotary, plain: torch.Tensor) -> torch.Tensor:
    """Long waves are stretched, short ones left, those between mixed (https://arxiv.org/abs/2407.21783)."""
    import torch

    longest = rotary.original_context / rotary.low_freq_factor
    shortest = rotary.original_context / rotary.high_freq_factor
    waves = 2 * math.pi / plain
    found = torch.where(waves > longest, plain / rotary.factor, plain)
    share = rotary.original_context / waves - rotary.low_freq_factor
    share = share / (rotary.high_freq_factor - rotary.low_freq_factor)
    mixed = (1 - share) * found / rotary.factor + share * found
    return torch.where(~(waves < shortest) & ~(waves > longest), mixed, found)


def _yarn(rotary: Rotary, plain: torch.Tensor) -> torch.Tensor:
    """Few rotations in the original context are stretched, many left, a ramp between (https://arxiv.org/abs/2309.00071)."""
    import torch

    def component(rotations: float) -> float:
        waves = rotary.original_context / (rotations * 2 * math.pi)
        return rotary.size * math.log(waves) / (2 * math.log(rotary.base))

    low, high = component(rotary.beta_fast), component(rotary.beta_slow)
    if rotary.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotary.size - 1)
    if low == high:
        high += 0.001
    steps = torch.arange(rotary.size // 2, dtype=torch.float32, device=plain.device)
    left = 1 - ((steps - low) / (high - low)).clamp(0, 1)
    return plain / rotary.factor * (1 - left) + plain * left
