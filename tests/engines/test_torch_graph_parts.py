"""Integer matrices and the cutting of steps, by hand; how CUDA graphs are recorded, without CUDA."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from servewatt.engines.decoder.matrix import Matrix, look_up, multiply, quantise_int4, quantise_int8
from servewatt.engines.torch_graph.replay import CudaRecorder, pieces, round_up
from servewatt.errors import RefusedError

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("steps", "most", "cut"),
    [
        (31, 8, [8, 8, 8, 4, 2, 1]),
        (32, 8, [8, 8, 8, 8]),
        (7, 16, [4, 2, 1]),
        (1, 1, [1]),
        (0, 8, []),
        (3, 1, [1, 1, 1]),
    ],
)
def test_steps_are_cut_into_replays(steps: int, most: int, cut: list[int]) -> None:
    assert pieces(steps, most) == cut


def test_lengths_are_rounded_up_to_buckets() -> None:
    assert [round_up(n, 128) for n in (1, 128, 129)] == [128, 128, 256]


def test_int8_by_hand() -> None:
    matrix = quantise_int8(torch.tensor([[1.27, -0.64, 0.004], [0.0, 0.0, 0.0]]), torch.float32)
    assert matrix.weight.tolist() == [[127, -64, 0], [0, 0, 0]]
    assert matrix.scale is not None
    assert matrix.scale.tolist()[0] == pytest.approx(0.01)
    with_bias = Matrix(matrix.weight, matrix.scale, torch.tensor([0.5, 0.25]))
    # 1.27 * 2 - 0.64 * 1 + 0 * 3 + 0.5
    assert multiply(torch.tensor([[2.0, 1.0, 3.0]]), with_bias)[0].tolist() == pytest.approx([2.4, 0.25])
    assert look_up(matrix, torch.tensor([0]), torch.float32)[0].tolist() == pytest.approx([1.27, -0.64, 0.0])


def test_int4_by_hand() -> None:
    # Groups of four: scales 0.1 and 0.5. The first half of a group is in the low bits, 8 stands for 0.
    matrix = quantise_int4(torch.tensor([[0.7, -0.3, 0.1, 0.0, 3.5, -3.5, 1.0, 0.2]]), torch.float32, 4)
    assert matrix.weight.tolist() == [[[15 | 9 << 4, 5 | 8 << 4], [15 | 10 << 4, 1 | 8 << 4]]]
    assert matrix.scale is not None
    assert matrix.scale[0].tolist() == pytest.approx([0.1, 0.5])
    values = [0.7, -0.3, 0.1, 0.0, 3.5, -3.5, 1.0, 0.0]
    assert look_up(matrix, torch.tensor([0]), torch.float32)[0].tolist() == pytest.approx(values)
    inputs = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    product = sum(a * b for a, b in zip(values, inputs, strict=True))
    one = torch.tensor([inputs])
    assert multiply(one, matrix).item() == pytest.approx(product), "a vector, as a reduction"
    assert multiply(torch.cat((one, 2 * one)), matrix).flatten().tolist() == pytest.approx([product, 2 * product])


def test_int4_groups_must_fit() -> None:
    with pytest.raises(RefusedError, match="48 inputs are no multiple of the group of 32"):
        quantise_int4(torch.zeros(2, 48), torch.float32, 32)


class Graphs:
    """What stands in for CUDA's streams and graphs: notes what is done where."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.alive: list[weakref.ref[Graphs.Graph]] = []
        self.collecting: list[bool] = []
        for name, value in {
            "graph_pool_handle": lambda: "pool",
            "Stream": lambda device: "side",
            "synchronize": lambda device: self.log.append("wait"),
            "stream": self.on,
            "graph": self.capture,
            "CUDAGraph": self.make,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    class Graph:
        def replay(self) -> None:
            pass

    def make(self) -> Graph:
        graph = self.Graph()
        self.alive.append(weakref.ref(graph))
        return graph

    @contextlib.contextmanager
    def on(self, stream: str) -> Iterator[None]:
        self.log.append(f"on {stream}")
        yield

    @contextlib.contextmanager
    def capture(self, graph: Graph, *, pool: str, stream: str, capture_error_mode: str) -> Iterator[None]:
        assert (pool, stream, capture_error_mode) == ("pool", "side", "thread_local")
        self.collecting.append(gc.isenabled())
        self.log.append("capture")
        yield
        self.log.append("captured")


def test_a_graph_is_captured_after_runs_that_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = Graphs(monkeypatch)
    recorder = CudaRecorder(torch.device("cuda", 0))
    tensor = torch.tensor([5])
    graphs.log.clear()

    def work() -> None:
        graphs.log.append(f"work on {tensor.item()}")
        tensor.add_(1)

    recorder.record(work, (tensor,))
    assert graphs.log == [
        "wait",
        "on side",
        "work on 5",
        "work on 5",
        "wait",
        "capture",
        "work on 5",
        "captured",
        "wait",
    ]
    assert (recorder.recorded, graphs.collecting, gc.isenabled()) == (1, [False, False], True)


def test_the_memory_pool_outlives_all_recorded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = Graphs(monkeypatch)
    recorder = CudaRecorder(torch.device("cuda", 0))
    replay: Any = recorder.record(lambda: None, ())
    assert [graph() is not None for graph in graphs.alive] == [True, True]
    del replay
    assert [graph() is not None for graph in graphs.alive] == [True, False], "the pool's own graph is still there"


def test_a_capture_that_fails_leaves_garbage_collection_on(monkeypatch: pytest.MonkeyPatch) -> None:
    Graphs(monkeypatch)
    recorder = CudaRecorder(torch.device("cuda", 0))
    calls = iter([None, None])

    def work() -> None:
        if next(calls, StopIteration) is StopIteration:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="capturing"):
        recorder.record(work, ())
    assert gc.isenabled()
