"""Integer matrices and the cutting of steps, by hand; how CUDA graphs are recorded, without CUDA."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from servewatt.engines.torch_graph.model import matrix as decoder_matrix
from servewatt.engines.torch_graph.model.matrix import Matrix, look_up, multiply, quantise_int4, quantise_int8
from servewatt.engines.torch_graph.replay import CudaGraphCapture, pieces, round_up
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
    # Groups of four: -0.8 is -8 times 0.1, and 4 is -8 times -0.5. The first half of a group is in the low bits, 8
    # stands for 0.
    matrix = quantise_int4(torch.tensor([[-0.8, 0.3, 0.1, 0.0, 4.0, -3.5, 1.0, 0.1]]), torch.float32, 4)
    assert matrix.weight.tolist() == [[[0 | 9 << 4, 11 | 8 << 4], [0 | 6 << 4, 15 | 8 << 4]]]
    assert matrix.scale is not None
    assert matrix.scale[0].tolist() == pytest.approx([0.1, -0.5])
    values = [-0.8, 0.3, 0.1, 0.0, 4.0, -3.5, 1.0, 0.0]
    assert look_up(matrix, torch.tensor([0]), torch.float32)[0].tolist() == pytest.approx(values)
    inputs = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    product = sum(a * b for a, b in zip(values, inputs, strict=True))
    one = torch.tensor([inputs])
    assert multiply(one, matrix).item() == pytest.approx(product), "a vector, as a reduction"
    assert multiply(torch.cat((one, 2 * one)), matrix).flatten().tolist() == pytest.approx([product, 2 * product])


def integers_of(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """(outputs, groups, group) of a packed weight."""
    return np.concatenate((packed & 15, packed >> 4), axis=2).astype(np.int64) - 8


def plain_int4(weight: npt.NDArray[np.float64], group: int) -> npt.NDArray[np.float64]:
    """What becomes of `weight` if the largest magnitude of each group is 7 or -7."""
    groups = weight.reshape(len(weight), -1, group)
    scale = np.abs(groups).max(axis=2, keepdims=True) / 7
    rounded: npt.NDArray[np.float64] = (np.round(groups / scale) * scale).reshape(weight.shape)
    return rounded


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("tails", ["normal", "heavy"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_int4_scales_leave_less_error_than_the_largest_magnitude_would(dtype: Any, tails: str, group: int) -> None:
    """All sixteen integers are used, and scales are those of least squares: a quarter less squared error at least."""
    generator = np.random.default_rng(0)
    size = (20, 1536)
    weight = 0.02 * (generator.normal(size=size) if tails == "normal" else generator.standard_t(3, size=size))
    matrix = quantise_int4(torch.from_numpy(weight), dtype, group)
    assert matrix.scale is not None and matrix.scale.dtype == dtype
    integers, scale = integers_of(matrix.weight.numpy()), matrix.scale.double().numpy()
    assert np.unique(integers).tolist() == list(range(-8, 8))
    held = integers * scale[..., None]
    every = torch.arange(len(weight))
    found = look_up(matrix, every, torch.float32).double().numpy()
    np.testing.assert_allclose(found, held.reshape(size), rtol=1e-6, err_msg="what is stored is computed with")
    error, plain = np.mean((held.reshape(size) - weight) ** 2), np.mean((plain_int4(weight, group) - weight) ** 2)
    assert error < 0.77 * plain
    # No other integer times the scale comes closer; half a step of fp32 aside.
    choices = np.arange(-8, 8) * scale[..., None, None]
    groups = weight.reshape(held.shape)
    least = np.abs(choices - groups[..., None]).min(axis=-1)
    np.testing.assert_allclose(np.abs(held - groups), least, rtol=0, atol=1e-7)


def test_int4_is_the_same_however_many_rows_are_rounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    # Stored transposed, as gpt2's matrices are.
    weight = torch.randn(256, 70, generator=torch.Generator().manual_seed(0)).t()
    whole = quantise_int4(weight, torch.float32, 64)
    monkeypatch.setattr(decoder_matrix, "_NUMBERS_AT_ONCE", 3 * 256)
    parts = quantise_int4(weight, torch.float32, 64)
    assert whole.scale is not None and parts.scale is not None
    assert torch.equal(whole.weight, parts.weight)
    torch.testing.assert_close(whole.scale, parts.scale, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_int4_of_nothing_and_of_next_to_nothing(dtype: Any) -> None:
    weight = torch.zeros(2, 64)
    weight[1, 5] = 1e-39
    matrix = quantise_int4(weight, dtype, 32)
    assert look_up(matrix, torch.tensor([0, 1]), dtype).abs().max().item() < 2e-39


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
    capture = CudaGraphCapture(torch.device("cuda", 0))
    tensor = torch.tensor([5])
    graphs.log.clear()

    def work() -> None:
        graphs.log.append(f"work on {tensor.item()}")
        tensor.add_(1)

    capture.capture(work, (tensor,))
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
    assert (capture.captured, graphs.collecting, gc.isenabled()) == (1, [False, False], True)


def test_the_memory_pool_outlives_all_captured_work(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = Graphs(monkeypatch)
    capture = CudaGraphCapture(torch.device("cuda", 0))
    replay: Any = capture.capture(lambda: None, ())
    assert [graph() is not None for graph in graphs.alive] == [True, True]
    del replay
    assert [graph() is not None for graph in graphs.alive] == [True, False], "the pool's own graph is still there"


def test_a_capture_that_fails_leaves_garbage_collection_on(monkeypatch: pytest.MonkeyPatch) -> None:
    Graphs(monkeypatch)
    capture = CudaGraphCapture(torch.device("cuda", 0))
    calls = iter([None, None])

    def work() -> None:
        if next(calls, StopIteration) is StopIteration:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="capturing"):
        capture.capture(work, ())
    assert gc.isenabled()
