"""Captures device work once and replays it: as a CUDA graph, or on the CPU by calling it."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

Work = Callable[[], None]


class GraphCapture(Protocol):
    """Makes work repeatable, and brings its results to the host."""

    name: str
    """`cuda graph` or `direct`."""
    overlaps: bool
    """Whether captured work runs asynchronously to the host."""
    captured: int
    """How many pieces of work have been captured so far."""

    def capture(self, work: Work, changed: Sequence[torch.Tensor]) -> Work:
        """`work` as a callable that can be replayed. Capturing may run it; the tensors `changed` are restored
        afterwards.
        """
        ...

    def fetch(self, tensor: torch.Tensor) -> Callable[[], list[list[int]]]:
        """Ask for a copy of `tensor` as it is after everything asked so far; the call waits for it."""
        ...


def pieces(steps: int, most: int) -> list[int]:
    """`steps` as a sum of `most` as often as it fits, then smaller powers of two: 31 is 8 + 8 + 8 + 4 + 2 + 1."""
    whole, rest = divmod(steps, most)
    return [most] * whole + [1 << bit for bit in reversed(range(rest.bit_length())) if rest >> bit & 1]


def round_up(length: int, multiple: int) -> int:
    """The least multiple that is no less than `length`."""
    return -(-length // multiple) * multiple


def _keep(changed: Sequence[torch.Tensor]) -> Work:
    """A function that restores the tensors to their present values."""
    before = [tensor.clone() for tensor in changed]

    def restore() -> None:
        for tensor, content in zip(changed, before, strict=True):
            tensor.copy_(content)

    return restore


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Without garbage collection: a kernel or memory that is freed during a capture breaks it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class DirectCapture:
    """Runs work as it is; `run_first` has it run when it is captured, so that it is compiled by then."""

    name = "direct"
    overlaps = False

    def __init__(self, *, run_first: bool = False) -> None:
        self.captured = 0
        self._run_first = run_first

    def capture(self, work: Work, changed: Sequence[torch.Tensor]) -> Work:
        self.captured += 1
        if self._run_first:
            restore = _keep(changed)
            work()
            restore()
        return work

    def fetch(self, tensor: torch.Tensor) -> Callable[[], list[list[int]]]:
        rows: list[list[int]] = tensor.tolist()
        return lambda: rows


class CudaGraphCapture:
    """Captures work in CUDA graphs that share one memory pool.

    They may share it, in whatever order they run, because no result stays in the pool: work reads and writes tensors
    made outside.
    """

    name = "cuda graph"
    overlaps = True
    _RUNS_BEFORE = 2
    """Compilation, tuning and libraries' workspaces must be over when capture begins."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self.captured = 0
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)
        # A pool whose last graph is gone cannot be captured into again, so one that does nothing stays.
        self._keeper = torch.cuda.CUDAGraph()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The CUDA Graph is empty")
            self._capture_into(self._keeper, lambda: None)

    def capture(self, work: Work, changed: Sequence[torch.Tensor]) -> Work:
        import torch

        restore = _keep(changed)
        torch.cuda.synchronize(self._device)
        with torch.cuda.stream(self._stream):
            for _ in range(self._RUNS_BEFORE):
                work()
                restore()
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        self._capture_into(graph, work)
        torch.cuda.synchronize(self._device)
        self.captured += 1
        replay: Work = graph.replay
        return replay

    def _capture_into(self, graph: torch.cuda.CUDAGraph, work: Work) -> None:
        import torch

        # GPU calls of other threads meanwhile are not part of the capture and need not invalidate it.
        capture = torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local")
        with _no_collection(), capture:
            work()

    def fetch(self, tensor: torch.Tensor) -> Callable[[], list[list[int]]]:
        import torch

        copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        copy.copy_(tensor, non_blocking=True)
        # A blocking event lets the waiting thread sleep instead of spinning on a CPU whose energy is counted too.
        arrived = torch.cuda.Event(blocking=True)
        arrived.record()

        def wait() -> list[list[int]]:
            arrived.synchronize()
            rows: list[list[int]] = copy.tolist()
            return rows

        return wait
