"""What really runs against what the configuration claims."""

from __future__ import annotations

from dataclasses import dataclass

from servewatt.records import Configuration, Facts, Precision, Provider

_LEAST_SHARE = 0.5
"""Least share of the weights' bytes that must be of a low-precision claim's type."""
_COMPUTE: dict[Precision, frozenset[str]] = {
    Precision.FP32: frozenset({"fp32"}),
    Precision.BF16: frozenset({"bf16"}),
    Precision.FP16: frozenset({"fp16"}),
    Precision.INT8: frozenset({"int8", "fp32", "bf16", "fp16"}),
    Precision.INT4: frozenset({"int4", "int8", "fp32", "bf16", "fp16"}),
    Precision.W8A8: frozenset({"int8"}),
}
"""Types in which matrix products of a precision may be computed; quantised weights may be multiplied as floats."""

_FLOATING = frozenset({Precision.FP32, Precision.BF16, Precision.FP16})
"""Precisions whose type is also that of the KV cache."""


@dataclass(frozen=True)
class DecodeProof:
    """What one decode step was seen to do."""

    tokens_fed: int
    """Tokens a row given to the graph."""
    cache_before: int
    """Tokens the cache held."""
    cache_after: int
    cache_dtype: str

    @property
    def reuses_cache(self) -> bool:
        """One token in, and the cache grew by that one."""
        return self.tokens_fed == 1 and self.cache_before > 0 and self.cache_after == self.cache_before + 1


def violations(configuration: Configuration, facts: Facts) -> tuple[str, ...]:
    """Each way in which `facts` contradict `configuration`, a sentence each; empty if they agree."""
    found = [
        *_device_violations(configuration, facts),
        *_weight_violations(configuration, facts),
        *_arithmetic_violations(configuration, facts),
    ]
    if not facts.kv_cache:
        found.append("decoding does not reuse a KV cache")
    elif configuration.precision in _FLOATING and facts.kv_cache_dtype != configuration.precision.value:
        held, claimed = facts.kv_cache_dtype or "of unknown type", configuration.precision.value
        found.append(f"the KV cache is {held}, the configuration says {claimed}")
    if configuration.threads is not None and facts.threads != configuration.threads:
        actual = "an unknown number of" if facts.threads is None else facts.threads
        found.append(f"{actual} CPU threads compute, the configuration says {configuration.threads}")
    return tuple(found)


def _device_violations(configuration: Configuration, facts: Facts) -> list[str]:
    if not facts.devices:
        return ["the engine does not tell which device computes"]
    wanted = configuration.provider.value
    allowed = {wanted, "cpu-shapes"} if configuration.provider is Provider.CUDA else {wanted}
    found = [
        f"{count} operators or weights are on {device}, the configuration says {wanted}"
        for device, count in facts.devices
        if device not in allowed and count > 0
    ]
    if not found and not dict(facts.devices).get(wanted):
        found.append(f"nothing is on {wanted}")
    return found


def _weight_violations(configuration: Configuration, facts: Facts) -> list[str]:
    total = sum(size for _, size in facts.weight_dtypes)
    if total == 0:
        return ["the engine does not tell which weights it holds"]
    claimed = configuration.precision.value
    if configuration.precision is Precision.FP32:
        others = [f"{size} bytes are {dtype}" for dtype, size in facts.weight_dtypes if dtype != "fp32" and size]
        return [f"not all weights are fp32: {', '.join(others)}"] if others else []
    held = sum(size for dtype, size in facts.weight_dtypes if dtype == claimed)
    if held < _LEAST_SHARE * total:
        return [f"only {held} of {total} bytes of weights are {claimed}"]
    return []


def _arithmetic_violations(configuration: Configuration, facts: Facts) -> list[str]:
    claimed = configuration.precision
    found = []
    if facts.compute_dtype not in _COMPUTE[claimed]:
        actual = facts.compute_dtype or "an unknown type"
        found.append(f"matrix products are computed in {actual}, the configuration says {claimed.value}")
    if claimed is Precision.FP32 and configuration.provider is Provider.CUDA:
        on = [name for name, value in facts.detail if "tf32" in name and value.lower() not in {"false", "0"}]
        if on:
            found.append(f"TF32 is on ({', '.join(on)}), so products are not computed in fp32")
    return found
