"""Compiles the decode step: inductor's settings, its cache, and its requirements on this machine."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import shutil
import sysconfig
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servewatt.engines.base import Artefacts
from servewatt.engines.torch_graph.model.program import Compile
from servewatt.errors import InputError, UnavailableError

if TYPE_CHECKING:
    import torch

_COMPILER_HINT = "install a C++ compiler (Debian, Ubuntu: apt install g++) or set CXX; or use option compile=off"
_RECOMPILE_LIMIT = 256
"""Each batch size and each bucket of the cache is a compilation of its own, and none is a surprise."""


def as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """A `Compile` that does not."""
    return function


def inductor_settings(text: str) -> dict[str, object]:
    """`name:value+name:value` as settings of inductor; InputError for another form or an unknown setting.

    Values are Python literals, or else strings, such as `max_autotune_gemm_backends:TRITON+epilogue_fusion:False`.
    """
    from torch._inductor import config

    known = config.get_config_copy()
    settings: dict[str, object] = {}
    for part in filter(None, text.split("+")):
        name, colon, value = part.partition(":")
        if not colon or name not in known:
            raise InputError(f"option inductor: {part!r} is no setting of inductor", "write it like name:value")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[name] = value
    return settings


def make_compile(mode: str, more: Mapping[str, object], device: torch.device, artefacts: Artefacts) -> Compile:
    """The compiler of mode `off`, `default` or `max-autotune`, its results kept among the artefacts.

    UnavailableError if this machine lacks what inductor needs to build kernels.
    """
    if mode == "off":
        return as_it_is
    import torch

    require_toolchain(device)
    _use_cache(cache_folder(device, artefacts))
    _import_inductor()
    torch._dynamo.config.recompile_limit = _RECOMPILE_LIMIT
    torch._dynamo.config.accumulated_recompile_limit = 4 * _RECOMPILE_LIMIT
    settings: dict[str, object] = {}
    if mode == "max-autotune":
        settings = {"max_autotune": True, "coordinate_descent_tuning": True}
    settings |= more

    def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = torch.compile(function, dynamic=False, fullgraph=True, options=settings)
        return compiled

    return compile_


def cache_folder(device: torch.device, artefacts: Artefacts) -> Path:
    """Folder in which inductor keeps compiled kernels between processes; created if needed."""
    import torch

    board = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    key = (f"torch {torch.__version__}", sysconfig.get_python_version(), board)

    def build(folder: Path) -> None:
        (folder / "inductor").mkdir()

    return artefacts.get_or_build("torch-graph", key, build) / "inductor"


def _import_inductor() -> None:
    """Import it here, where the warnings of an unused part can be suppressed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is (deprecated|not supported)")
        importlib.import_module("torch._inductor.compile_fx")


def _use_cache(folder: Path) -> None:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")


def require_toolchain(device: torch.device) -> None:
    """UnavailableError if this machine cannot build kernels for `device`."""
    if device.type == "cpu":
        if _program("CXX", "g++", "clang++") is None:
            raise UnavailableError("inductor needs a C++ compiler for the CPU and finds none", _COMPILER_HINT)
        return
    if importlib.util.find_spec("triton") is None:
        raise UnavailableError(
            "inductor needs triton for the GPU", "pip install triton, or use options compile=off and attention=sdpa"
        )
    if _program("CC", "gcc", "clang", "cc") is None:
        raise UnavailableError("triton needs a C compiler and finds none", _COMPILER_HINT.replace("C++", "C"))


def _program(variable: str, *names: str) -> str | None:
    set_by_user = os.environ.get(variable)
    candidates = (set_by_user,) if set_by_user else names
    return next((found for name in candidates if (found := shutil.which(name))), None)
