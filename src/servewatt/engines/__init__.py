"""Engines by name. To add one: its file, its line here, its extra in pyproject.toml."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from servewatt import __version__
from servewatt.engines.base import Artefacts, Engine, Session, Step
from servewatt.errors import InputError, RefusedError, UnavailableError, nearest
from servewatt.records import Configuration, Precision, Provider

__all__ = ["ENGINES", "Artefacts", "Engine", "EngineEntry", "Session", "Step", "check", "create", "entry"]


@dataclass(frozen=True)
class EngineEntry:
    """What is known of an engine without importing it."""

    name: str
    summary: str
    target: str
    """`module:Class`."""
    packages: tuple[str, ...]
    """Distributions it needs, the engine's own first; `a|b` is whichever of them is installed."""
    extra: str
    """The extra of servewatt that installs them."""
    supports: tuple[tuple[Provider, Precision], ...]

    def version(self) -> str | None:
        """Version of the engine's own package; None if any package it needs is missing."""
        versions = [_version_of_any(package.split("|")) for package in self.packages]
        if None in versions:
            return None
        return versions[0] if versions else __version__

    @property
    def install_line(self) -> str:
        return f"pip install 'servewatt[{self.extra}]'"


def _version_of_any(packages: Sequence[str]) -> str | None:
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


_CPU32 = (Provider.CPU, Precision.FP32)
_CUDA32 = (Provider.CUDA, Precision.FP32)
_HALF = tuple((p, t) for p in (Provider.CPU, Provider.CUDA) for t in (Precision.BF16, Precision.FP16))

ENGINES: dict[str, EngineEntry] = {
    e.name: e
    for e in (
        EngineEntry(
            "torch",
            "PyTorch, eager, transformers modelling code",
            "servewatt.engines.torch_eager:TorchEngine",
            ("torch", "transformers", "safetensors"),
            "torch",
            (_CPU32, _CUDA32, *_HALF),
        ),
        EngineEntry(
            "torchscript",
            "PyTorch, traced and frozen graph (JIT)",
            "servewatt.engines.torchscript:TorchScriptEngine",
            ("torch", "transformers", "safetensors"),
            "torch",
            (_CPU32, _CUDA32, *_HALF),
        ),
        EngineEntry(
            "onnx",
            "ONNX Runtime, exported graph",
            "servewatt.engines.onnx:OnnxEngine",
            ("onnxruntime-gpu|onnxruntime", "onnx", "onnxscript", "torch", "transformers", "safetensors"),
            "onnx",
            (_CPU32, _CUDA32),
        ),
        EngineEntry(
            "openvino",
            "OpenVINO, converted stateful graph",
            "servewatt.engines.openvino:OpenVinoEngine",
            ("openvino", "torch", "transformers", "safetensors"),
            "openvino",
            (_CPU32, (Provider.CPU, Precision.BF16)),
        ),
        EngineEntry(
            "fake",
            "No model at all: a clock that counts, to try servewatt out",
            "servewatt.engines.fake:FakeEngine",
            (),
            "",
            tuple((p, t) for p in Provider for t in Precision),
        ),
    )
}


def entry(name: str) -> EngineEntry:
    """The table's line for `name`; InputError with the nearest names if there is none."""
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}", nearest(name, ENGINES))
    return ENGINES[name]


def check(configuration: Configuration) -> None:
    """Raise if the table alone shows that this configuration cannot run."""
    known = entry(configuration.engine)
    if known.version() is None:
        raise UnavailableError(f"engine {known.name!r} is not installed", known.install_line)
    if (configuration.provider, configuration.precision) not in known.supports:
        able = ", ".join(f"{p.value}/{t.value}" for p, t in known.supports)
        raise RefusedError(f"{configuration.key}: {known.name} does not run this", f"it runs {able}")


def create(name: str) -> Engine:
    """The engine called `name`, its module imported but nothing loaded."""
    module, _, attribute = entry(name).target.partition(":")
    engine: Engine = getattr(importlib.import_module(module), attribute)()
    return engine
