"""Tests by experiment whether a decode step writes one column of the key-value cache and reads the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servewatt.engines.shared.decode_proof import DecodeProof
from servewatt.engines.shared.torch_model import dtype_name
from servewatt.engines.torch_graph.model.program import Buffers
from servewatt.engines.torch_graph.replay import Work

if TYPE_CHECKING:
    import torch


def prove(buffers: Buffers, work: Work, start: int, steps: int) -> DecodeProof:
    """Try `work`: `steps` decode steps, of which the first feeds column `start`; more than 0 columns are before it.

    It runs twice, the second time with the first layer's values away. Afterwards everything is restored except what
    `work` writes, which the real run writes again. Waits for the device; it copies data of one row.
    """
    row = int(buffers.padding.argmin())
    wrote = _writes_its_columns(buffers, work, row, start, steps)
    reads = _reads_the_others(buffers, work, row, start)
    return DecodeProof(1, start, start + 1 if wrote and reads else start, dtype_name(buffers.keys[0].dtype))


def _writes_its_columns(buffers: Buffers, work: Work, row: int, start: int, steps: int) -> bool:
    """Whether of the first layer's keys just those of the steps' columns change, and there are earlier ones."""
    keys, first = buffers.keys[0][row], int(buffers.padding[row])
    # An earlier generation may have left the same key there; no key is all ones.
    keys[:, start : start + steps] = 1
    before = keys.clone()
    work()
    changed = (_bits(keys) != _bits(before)).any(dim=2).any(dim=0).nonzero().flatten().tolist()
    # Not that of each token: where the embedding of a padding token is zeros, its key may be so too.
    held = keys[:, first:start].any()
    grown = int(buffers.position) - start
    buffers.position.fill_(start)
    return changed == list(range(start, start + steps)) and bool(held) and grown == steps


def _reads_the_others(buffers: Buffers, work: Work, row: int, start: int) -> bool:
    """Whether a step depends on earlier columns: without the first layer's values, the next layers' keys are others.

    To be called when `work` has just run. A decoder of one layer has no next layers, and NaN keys show nothing: neither
    counts as a failure.
    """
    import torch

    if len(buffers.keys) == 1:
        return True
    values = buffers.values[0][row, :, :start]
    kept = values.clone()
    seen = torch.stack([keys[row, :, start] for keys in buffers.keys[1:]])
    values.zero_()
    work()
    without = torch.stack([keys[row, :, start] for keys in buffers.keys[1:]])
    values.copy_(kept)
    buffers.position.fill_(start)
    return not torch.equal(_bits(seen), _bits(without)) or not bool(seen.isfinite().all())


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """Its values as integers, so that NaN compares equal to itself."""
    import torch

    return tensor.view({2: torch.int16, 4: torch.int32}[tensor.element_size()])
