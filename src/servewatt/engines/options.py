"""An engine's options as it describes them, and those that several engines share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """A setting of an engine that a configuration may name: `NAME=VALUE`."""

    name: str
    values: tuple[str, ...]
    """The values it may take; empty where the engine judges them itself."""
    default: str
    """The value where none is given; empty where it depends on the configuration, as `help` then tells."""
    help: str


LINEAR = Option(
    "linear",
    ("packed", "plain"),
    "",
    "Large linear layers through oneDNN with weights packed at load (packed, on the CPU), or PyTorch's own (plain).",
)
GROUP = Option("group", ("32", "64", "128"), "64", "Weights that share a scale, for quantised weights.")
ACTIVATIONS = Option(
    "activations",
    ("float", "int8"),
    "float",
    "int4: multiply by floating activations, or by activations rounded to 8 bits. int8 and w8a8 say it themselves.",
)
