"""PyTorch with static shapes and addresses: a static cache, a compiled decode step, several steps in a CUDA graph.

The model is a decoder of our own over the checkpoint's weights (`decoder.step`), because transformers' modules leave
the matrices apart and more kernels to launch; see docs/decisions/0010-own-decoder.md. On CUDA a replay of one graph
runs several decode steps and picks their tokens on the device; the host learns them together, so the times of these
steps are equal. On the CPU the same steps run without a graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from servewatt.engines.base import Artefacts, Session
from servewatt.engines.shared.packed_linear import LEAST_BYTES, can_pack
from servewatt.engines.shared.torch_model import prepare_torch, torch_dtype
from servewatt.engines.torch_graph.choices import Choices
from servewatt.engines.torch_graph.compile import inductor_settings, make_compile, require_toolchain
from servewatt.engines.torch_graph.entry import ENTRY
from servewatt.engines.torch_graph.model.able import shape_of
from servewatt.engines.torch_graph.model.packed import is_packed
from servewatt.engines.torch_graph.model.positions import make_tables
from servewatt.engines.torch_graph.model.program import DecoderProgram, Kernels
from servewatt.engines.torch_graph.model.weights import Holder, load_decoder, matrices_of
from servewatt.engines.torch_graph.replay import CudaGraphCapture, DirectCapture, GraphCapture
from servewatt.engines.torch_graph.session import TorchGraphSession
from servewatt.errors import RefusedError
from servewatt.records import Configuration, Model

if TYPE_CHECKING:
    import torch


class TorchGraphEngine:
    """Loads a model as our own decoder."""

    def check(self, model: Model, configuration: Configuration) -> None:
        ENTRY.check_options(configuration)
        Choices.of(configuration)
        shape_of(model)

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        """Check the model; kernels are compiled where they run, at the first generation."""
        self.check(model, configuration)

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        ENTRY.check_options(configuration)
        choices = Choices.of(configuration)
        shape = shape_of(model)
        device = prepare_torch(configuration)
        compile_ = make_compile(choices.compile, inductor_settings(choices.inductor), device, artefacts)
        kernels = (choices.attention, choices.one_row, choices.prefill_products, choices.step_products)
        if not {"triton", "split", "auto"}.isdisjoint(kernels):
            require_toolchain(device)
        dtype = torch_dtype(choices.compute)
        packs = choices.linear == "packed" and can_pack(dtype)
        holder = Holder(configuration.precision, dtype, choices.group, pack_from_bytes=LEAST_BYTES if packs else None)
        weights = load_decoder(model, shape, holder, device, merge=choices.merge)
        packed = any(map(is_packed, matrices_of(weights)))
        if dict(configuration.options).get("linear") == "packed" and not packed:
            raise RefusedError(
                f"{configuration.key}: no matrix can be packed by this PyTorch, on this CPU, for this model",
                "say linear=plain",
            )
        tables = make_tables(shape, device)
        program = DecoderProgram(
            shape,
            weights,
            tables,
            compile_,
            _kernels(choices, packed=packed),
            whole_step=choices.whole_step,
        )
        return TorchGraphSession(shape, weights, program, choices, _graph_capture(device, choices), configuration.batch)


def _kernels(choices: Choices, *, packed: bool) -> Kernels:
    if packed:
        return Kernels(choices.attention, choices.one_row, "packed", "packed")
    return Kernels(choices.attention, choices.one_row, choices.prefill_products, choices.step_products)


def _graph_capture(device: torch.device, choices: Choices) -> GraphCapture:
    if device.type == "cuda":
        return CudaGraphCapture(device)
    return DirectCapture(run_first=choices.compile != "off")
