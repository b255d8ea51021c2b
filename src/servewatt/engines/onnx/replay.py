"""A session of ONNX Runtime over a graph of fixed capacity, whose decode step a CUDA graph replays.

Nothing of a step changes but the content of the device's memory: ids, places and cache are written where they were
read, so one binding serves all steps. ONNX Runtime records the step when it is first run under a new `gpu_graph_id`,
and replays it from then on; prefill, whose shapes differ, runs under -1, unrecorded, in the same session and so over
the same weights. A recording belongs to the thread that made it, so generations must all come from one thread.
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#using-cuda-graphs-preview
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from servewatt.engines.onnx.session import ELEMENT_TYPES, LoadedGraph, OnnxSession, StepOutput, type_name
from servewatt.engines.shared.decode_proof import DecodeProof
from servewatt.engines.shared.weights import numpy_dtype
from servewatt.records import Configuration

BUCKET = 128
"""Capacities are multiples of this many columns."""
_UNRECORDED = "-1"


@dataclass(frozen=True)
class _Tensor:
    """Memory on the device, held under a type of the same size where numpy lacks its own."""

    value: Any
    element_type: int
    shape: tuple[int, ...]

    def bind_input(self, binding: Any, name: str, device: str) -> None:
        binding.bind_input(name, device, 0, self.element_type, self.shape, self.value.data_ptr())

    def bind_output(self, binding: Any, name: str, device: str) -> None:
        binding.bind_output(name, device, 0, self.element_type, self.shape, self.value.data_ptr())


@dataclass
class ReplayState:
    """What steps of one batch size and capacity read and write, and how they are run."""

    capacity: int
    inputs: dict[str, _Tensor]
    outputs: dict[str, _Tensor]
    """Lie where the inputs do that they are in the next step."""
    binding: Any
    run_options: Any
    prefilled: bool = False

    def __getitem__(self, name: str) -> Any:
        """The value of an input or output."""
        return (self.inputs[name] if name in self.inputs else self.outputs[name]).value


class ReplaySession(OnnxSession):
    """Decodes by replaying one recorded step; on the CPU, where tests run it, the same step is run anew.

    A batch size has one capacity, that of the longest prompts and the longest generation seen so far, so that once each
    prompt has been prefilled and one generation run in full, as warm-up does, nothing is recorded any more.
    """

    def __init__(self, graph: LoadedGraph, configuration: Configuration) -> None:
        super().__init__(graph, configuration)
        given = self._session.get_provider_options().get("CUDAExecutionProvider", {})
        self._records = given.get("enable_cuda_graph") == "1"
        self._states: dict[int, ReplayState] = {}
        self._graph_ids = itertools.count(1)
        self._longest = self._most_new = 0
        self._dtype = type_name(next(i.type for i in self._session.get_inputs() if i.name == self._cache_names[0]))
        self._vocabulary = next(int(o.shape[-1]) for o in self._session.get_outputs() if o.name == "logits")

    def start(
        self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], max_new_tokens: int
    ) -> tuple[Any, ReplayState]:
        self._longest, self._most_new = max(self._longest, ids.shape[1]), max(self._most_new, max_new_tokens)
        capacity = -(-(self._longest + self._most_new) // BUCKET) * BUCKET
        batch = len(ids)
        state = self._states.pop(batch, None)
        if state is None or state.capacity < capacity:
            del state  # before another takes as much memory
            state = self._ready(batch, capacity)
        self._states[batch] = state
        state.prefilled = False
        state["padding"].update_inplace(ids.shape[1] - mask.sum(axis=1))
        return ids, state

    def step(self, ids: Any, state: Any) -> tuple[StepOutput, ReplayState]:
        if not state.prefilled:
            self._prefill(ids, state)
        else:
            if ids is not state["ids"]:
                state["ids"].update_inplace(ids)
            self._session.run_with_iobinding(state.binding, state.run_options)
        return StepOutput(state["logits"], state["ids"]), state

    def from_host(self, ids: npt.NDArray[np.int64]) -> Any:
        return np.ascontiguousarray(ids)

    def _prefill(self, ids: npt.NDArray[np.int64], state: ReplayState) -> None:
        given = {"ids": self._value(np.ascontiguousarray(ids)), "places": self._value(np.arange(ids.shape[1]))}
        binding = self._session.io_binding()
        for name, tensor in state.inputs.items():
            if name in given:
                binding.bind_ortvalue_input(name, given[name])
            else:
                tensor.bind_input(binding, name, self._device)
        for name, tensor in state.outputs.items():
            tensor.bind_output(binding, name, self._device)
        self._session.run_with_iobinding(binding, _run_options(_UNRECORDED))
        state.prefilled = True

    def _ready(self, batch: int, capacity: int) -> ReplayState:
        """Memory for `capacity` columns, and the step over it recorded."""
        state = self._state(batch, capacity)
        if self._records:
            # ONNX Runtime runs a step several times before and when it records it; prefill overwrites what they write.
            # https://github.com/microsoft/onnxruntime/issues/32243
            self._session.run_with_iobinding(state.binding, state.run_options)
        if self._proof is None:
            self._proof = self._prove(state)
        return state

    def _state(self, batch: int, capacity: int) -> ReplayState:
        cache = self._graph.description.cache
        states = [self._filled((batch, heads, capacity, size), self._dtype) for heads, size in cache.flat]
        ids, places = self._integers(np.zeros((batch, 1))), self._integers(np.zeros(1))
        inputs = {"ids": ids, "padding": self._integers(np.zeros(batch)), "places": places}
        inputs["columns"] = self._integers(np.arange(capacity))
        outputs = {"logits": self._filled((batch, self._vocabulary), "fp32"), "next_ids": ids, "next_places": places}
        inputs |= dict(zip(cache.input_names, states, strict=True))
        outputs |= dict(zip(cache.output_names, states, strict=True))
        binding = self._session.io_binding()
        for name, tensor in inputs.items():
            tensor.bind_input(binding, name, self._device)
        for name, tensor in outputs.items():
            tensor.bind_output(binding, name, self._device)
        return ReplayState(capacity, inputs, outputs, binding, _run_options(str(next(self._graph_ids))))

    def _prove(self, state: ReplayState) -> DecodeProof:
        """Run the step on a column that is still empty, and see which of the first layer's keys have changed."""
        place = BUCKET - 1
        keys = state.inputs[self._cache_names[0]]
        fed = state.inputs["ids"].shape[1]
        state["places"].update_inplace(np.array([place]))
        before = _bits(keys.value)
        self._session.run_with_iobinding(state.binding, state.run_options)
        changed = np.unique(np.nonzero(_bits(keys.value) != before)[2]).tolist()
        grown = int(state["places"].numpy()[0]) - place
        return DecodeProof(fed, place, place + grown if changed == [place] else place, self._dtype)

    def _integers(self, array: npt.NDArray[Any]) -> _Tensor:
        return _Tensor(self._value(array.astype(np.int64)), 7, array.shape)

    def _filled(self, shape: tuple[int, ...], dtype: str) -> _Tensor:
        """Memory full of ones: finite, as the graph wants it, and no key or value is all ones."""
        ones = np.ones(shape, numpy_dtype(dtype))
        held = ones.view(np.uint16) if dtype == "bf16" else ones
        return _Tensor(self._value(held), ELEMENT_TYPES[dtype], shape)

    def close(self) -> None:
        self._states.clear()
        super().close()


def _bits(value: Any) -> npt.NDArray[Any]:
    """A copy of a tensor's values as integers, so that NaN compares equal to itself."""
    array = value.numpy()
    bits: npt.NDArray[Any] = array.view(f"u{array.itemsize}").copy()
    return bits


def _run_options(graph_id: str) -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", graph_id)
    return options
