"""The study's names: configurations as `<CUDA, ONNX>`, and models by size group."""

from __future__ import annotations

import re

from servewatt.errors import InputError, nearest
from servewatt.records import Configuration, Precision, Provider, Via

STUDY = "Durán, Martinez, Lago, Martínez-Fernández (arXiv 2412.15441)"
"""How the published study is cited wherever a figure of it is shown."""

ENGINE_LABELS = {"torch": "TORCH", "onnx": "ONNX", "openvino": "OV", "torchscript": "JIT"}
"""Engines of the study: our name -> its name."""

CONFIGURATIONS = (
    "<CPU, TORCH>",
    "<CPU, ONNX>",
    "<CPU, OV>",
    "<CPU, JIT>",
    "<CUDA, TORCH>",
    "<CUDA, ONNX>",
    "<CUDA, JIT>",
)
"""The study's seven serving configurations, in the order of its tables."""

SIZE_GROUPS = {1: "< 1 B", 2: "1 B to < 2 B", 3: ">= 2 B"}
"""The study's size groups by number of parameters."""


def size_group(parameters: float) -> int:
    """1, 2 or 3."""
    if parameters < 1e9:
        return 1
    return 2 if parameters < 2e9 else 3


def label(configuration: Configuration) -> str:
    """The study's name of a configuration; what it held fixed (fp32, batch 1) is named only where it differs."""
    engine = ENGINE_LABELS.get(configuration.engine, configuration.engine)
    parts = [configuration.provider.value.upper(), engine]
    if configuration.precision is not Precision.FP32:
        parts.append(configuration.precision.value)
    if configuration.batch != 1:
        parts.append(f"batch {configuration.batch}")
    if configuration.via is Via.HTTP:
        parts.append("HTTP")
    parts += [f"{name}={value}" for name, value in configuration.options]
    return f"<{', '.join(parts)}>"


def provider_of(configuration_label: str) -> Provider:
    """The execution provider that a label names.

    Raises InputError for text that is no label.
    """
    word = configuration_label.strip("<> ").partition(",")[0].strip().lower()
    try:
        return Provider(word)
    except ValueError as error:
        raise InputError(
            f"{configuration_label!r} names no execution provider", nearest(word, [p.value for p in Provider])
        ) from error


def configuration_order(label: str) -> tuple[int, tuple[str, ...], int, str]:
    """Sorts labels as the study does, CPU before CUDA and TORCH, ONNX, OV, JIT; other precisions come after."""
    parts = [p.strip() for p in label.strip("<> ").split(",")]
    engines = tuple(ENGINE_LABELS.values())
    engine = parts[1] if len(parts) > 1 else ""
    place = engines.index(engine) if engine in engines else len(engines)
    # Numbers by their value: batch 4 before batch 16.
    more = tuple(re.sub(r"\d+", lambda digits: digits[0].zfill(9), part) for part in parts[2:])
    return (tuple(Provider).index(provider_of(label)), more, place, engine)
