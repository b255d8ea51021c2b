"""The words that the other records choose from."""

from __future__ import annotations

from enum import StrEnum


class Provider(StrEnum):
    """Execution provider: where the engine computes."""

    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """Type of the weights (and, for the floating types, of the arithmetic)."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"
    """Weights only; products are computed in a floating type."""
    INT4 = "int4"
    """Weights in 4-bit integers, scaled in groups; the option `activations` says what they are multiplied with."""
    W8A8 = "w8a8"
    """Weights in 8-bit integers, and activations rounded to such for the products."""

    @property
    def is_floating(self) -> bool:
        """Whether the weights are floating numbers."""
        return self in (Precision.FP32, Precision.BF16, Precision.FP16)

    @property
    def bits(self) -> int:
        """Bits of a weight, scales apart."""
        return _BITS[self]


_BITS = {
    Precision.FP32: 32,
    Precision.BF16: 16,
    Precision.FP16: 16,
    Precision.INT8: 8,
    Precision.INT4: 4,
    Precision.W8A8: 8,
}


class Stop(StrEnum):
    """When a generation ends: after a fixed number of tokens, or at an end-of-sequence token."""

    LENGTH = "length"
    EOS = "eos"


class Via(StrEnum):
    """How prompts reach the engine: in the measured process, or as HTTP requests to a server with the same engine."""

    PROCESS = "process"
    HTTP = "http"


class ModelSource(StrEnum):
    """Where a model's files come from."""

    BUNDLED = "bundled"
    FOLDER = "folder"
    HUB = "hub"
    RANDOM = "random"


class Weights(StrEnum):
    """Whether weights were learned; random ones time and draw power alike but answer nothing."""

    TRAINED = "trained"
    RANDOM = "random"


class Component(StrEnum):
    """The part of the machine a metered domain covers."""

    CPU = "cpu"
    DRAM = "dram"
    GPU = "gpu"
    MACHINE = "machine"


class Grade(StrEnum):
    """How a joule was obtained, best first."""

    COUNTER = "counter"
    INTEGRATED = "integrated"
    ESTIMATED = "estimated"
    MISSING = "missing"


class Boundary(StrEnum):
    """Which metered domains count towards a configuration's energy."""

    MACHINE = "machine"
    CPU = "cpu"
    GPU = "gpu"


class Status(StrEnum):
    """How a trial ended. Only `OK` trials enter statistics; the others are kept and shown."""

    OK = "ok"
    INVALID = "invalid"
    """Measured, but something else used the machine, or the result is beyond what the hardware can do."""
    REFUSED = "refused"
    """What ran is not what the configuration claims, or the engine cannot run it."""
    FAILED = "failed"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
