"""vLLM: its own scheduler, paged KV cache and CUDA graphs, driven step by step in the measured process.

Token ids go in and come out, no tokenizer is loaded. One step of its engine yields the next token of every row that
decodes; rows are scheduled as vLLM sees fit. Written for vLLM 0.24. https://docs.vllm.ai
"""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from servewatt.engines.base import Artefacts, Session
from servewatt.engines.shared.host import metadata_version
from servewatt.engines.shared.torch_model import prepare_torch
from servewatt.engines.vllm.entry import ENTRY
from servewatt.engines.vllm.session import VllmSession
from servewatt.engines.vllm.settings import OTHER_ENGINES, VARIABLES, VllmSettings, cache_variables, check_model
from servewatt.errors import RefusedError, UnavailableError
from servewatt.records import Configuration, Model

_LONGEST_REASON = 300
_NO_ROOM = ("gpu memory utilization", "gpu_memory_utilization")
"""Phrases in vLLM's errors about too little GPU memory."""


class VllmEngine:
    """Loads checkpoints as they are."""

    def check(self, model: Model, configuration: Configuration) -> None:
        ENTRY.check_options(configuration)
        VllmSettings.of(model, configuration)
        check_model(model)

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        """Check model and options; vLLM compiles where it runs, when it is loaded."""
        self.check(model, configuration)

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        self.check(model, configuration)
        settings = VllmSettings.of(model, configuration)
        os.environ.update(VARIABLES)
        make_arguments, engine_class = _imported(configuration)
        prepare_torch(configuration)
        os.environ.update(cache_variables(_cache_folder(artefacts)))
        try:
            engine = engine_class.from_engine_args(make_arguments(**settings.arguments(model)))
        except ImportError as error:  # vLLM imports much of what it needs only as it starts
            raise UnavailableError(f"vllm cannot start: {error}", "servewatt engines doctor vllm") from error
        except (ValueError, AssertionError, KeyError, NotImplementedError) as error:
            raise _refusal(model, error) from error
        return VllmSession(engine, settings)


def _imported(configuration: Configuration) -> tuple[Any, Any]:
    """vLLM's `EngineArgs` and `LLMEngine`; UnavailableError without a GPU, whose libraries the import wants."""
    try:
        import vllm

        _require_gpu(configuration)
        return vllm.EngineArgs, vllm.LLMEngine
    except ImportError as error:
        raise UnavailableError(f"vllm cannot be imported: {error}", "servewatt engines add vllm") from error


def _require_gpu(configuration: Configuration) -> None:
    import torch

    if not torch.cuda.is_available():
        raise UnavailableError(
            f"{configuration.key}: vllm needs a GPU, and torch finds no CUDA device",
            f"check `nvidia-smi` and that the driver supports CUDA {torch.version.cuda}, or use another engine",
        )


def _cache_folder(artefacts: Artefacts) -> Path:
    """Where compiled code is kept from one process to the next; made if need be."""
    import torch

    key = (
        f"vllm {metadata_version('vllm')}",
        f"torch {torch.__version__}",
        sysconfig.get_python_version(),
        torch.cuda.get_device_name(),
    )
    return artefacts.get_or_build("vllm", key, lambda folder: (folder / "compiled").mkdir()) / "compiled"


def _wordless(error: Exception) -> str:
    """Text for an exception without a message: the line that raised it, such as a bare `assert`."""
    frames = traceback.extract_tb(error.__traceback__)
    line = frames[-1].line if frames else None
    return f"{type(error).__name__} at `{line}`" if line else type(error).__name__


def _refusal(model: Model, error: Exception) -> Exception:
    """The error for an exception of vLLM's start: not enough memory, or an unsupported model."""
    # Complaints that pydantic passes on stand between its own head and a repetition of the input.
    said = str(error).partition("Value error, ")[2].partition(" [type=")[0] or str(error) or _wordless(error)
    said = " ".join(said.split())
    if any(sign in said.lower() for sign in _NO_ROOM):
        return MemoryError(f"vllm lacks GPU memory (option memory sets its share): {said[:_LONGEST_REASON]}")
    return RefusedError(f"{model.name}: vllm cannot run it: {said[:_LONGEST_REASON]}", OTHER_ENGINES)
