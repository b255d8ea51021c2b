"""Compares the facts of a loaded engine with the configuration's claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from servewatt.engines import entry
from servewatt.records import Configuration, Facts, Precision, Provider

_LEAST_SHARE = 0.5
"""Least share of the weights, counted in numbers, that must be integers of the type claimed: embeddings may float."""
_LEAST_FLOATING_SHARE = 0.95
"""Least share of the bytes of weights that must be of the half precision claimed: some engines keep norms wider."""
_BITS = {"fp64": 64} | {precision.value: precision.bits for precision in Precision}
_WEIGHT_TYPES = {Precision.INT8: "int8", Precision.INT4: "int4", Precision.W8A8: "int8"}
_COMPUTE: dict[Precision, frozenset[str]] = {
    Precision.FP32: frozenset({"fp32"}),
    Precision.BF16: frozenset({"bf16"}),
    Precision.FP16: frozenset({"fp16"}),
    Precision.INT8: frozenset({"fp32", "bf16", "fp16"}),
    Precision.INT4: frozenset({"fp32", "bf16", "fp16"}),
    Precision.W8A8: frozenset({"int8"}),
}
"""Types in which matrix products of a precision may be computed, options apart."""


def violations(configuration: Configuration, facts: Facts) -> tuple[str, ...]:
    """Each way in which `facts` contradict `configuration`, a sentence each; empty if they agree."""
    found = [
        *_device_violations(configuration, facts),
        *_weight_violations(configuration, facts),
        *_arithmetic_violations(configuration, facts),
        *_option_violations(dict(configuration.options), facts),
    ]
    if facts.kv_cache is False:
        found.append("decoding does not reuse a KV cache")
    elif (claimed := _claimed_cache(configuration)) and facts.kv_cache_dtype != claimed:
        found.append(f"the KV cache is {facts.kv_cache_dtype or 'of unknown type'}, the configuration says {claimed}")
    if configuration.threads is not None and facts.threads != configuration.threads:
        actual = "an unknown number of" if facts.threads is None else facts.threads
        found.append(f"{actual} CPU threads compute, the configuration says {configuration.threads}")
    return tuple(found)


def _claimed_cache(configuration: Configuration) -> str | None:
    """Type of the KV cache that is claimed, if any."""
    floating = configuration.precision.value if configuration.precision.is_floating else None
    return dict(configuration.options).get("cache", floating)


def _claimed_activations(configuration: Configuration) -> str:
    """As what inputs meet 4-bit weights, `float` or `int8`: as asked, else as the engine does by itself."""
    asked = dict(configuration.options).get("activations")
    offered = [option.default for option in entry(configuration.engine).options if option.name == "activations"]
    return asked or next(iter(offered), "float")


def _claimed_arithmetic(configuration: Configuration) -> frozenset[str]:
    """Types in which products may be computed, options considered."""
    options = dict(configuration.options)
    if configuration.precision is Precision.INT4 and _claimed_activations(configuration) == "int8":
        return frozenset({"int8"})
    if configuration.precision in _WEIGHT_TYPES and "compute" in options:
        return frozenset({options["compute"]})
    return _COMPUTE[configuration.precision]


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
    if configuration.precision in _WEIGHT_TYPES:
        return _narrow_weight_violations(_WEIGHT_TYPES[configuration.precision], facts)
    # A token reads one row of a table that is only looked up in, so that the table's type hardly matters.
    multiplied = Counter(dict(facts.weight_dtypes))
    multiplied.subtract(dict(facts.lookup_dtypes))
    held, total = multiplied[claimed], multiplied.total()
    if held < _LEAST_FLOATING_SHARE * total or not held:
        return [f"only {held} of {total} bytes of weights are {claimed}"]
    return []


def _narrow_weight_violations(claimed: str, facts: Facts) -> list[str]:
    """Reckoned in weights, not bytes: a floating embedding, only looked up in, weighs 8 times a 4-bit matrix."""
    counts = [(dtype, size * 8 // _BITS.get(dtype, 8)) for dtype, size in facts.weight_dtypes]
    held, total = sum(count for dtype, count in counts if dtype == claimed), sum(count for _, count in counts)
    return [] if held >= _LEAST_SHARE * total else [f"only {held} of {total} weights are {claimed}"]


def _arithmetic_violations(configuration: Configuration, facts: Facts) -> list[str]:
    claimed = configuration.precision
    found = []
    allowed = _claimed_arithmetic(configuration)
    if facts.compute_dtype not in allowed:
        actual = facts.compute_dtype or "an unknown type"
        says = claimed.value if allowed == _COMPUTE[claimed] else f"{claimed.value} in {' or '.join(sorted(allowed))}"
        found.append(f"matrix products are computed in {actual}, the configuration says {says}")
    if claimed is Precision.FP32 and configuration.provider is Provider.CUDA and facts.tf32:
        found.append(f"TF32 is on ({', '.join(facts.tf32)}), so products are not computed in fp32")
    return found


def _option_violations(asked: Mapping[str, str], facts: Facts) -> list[str]:
    """Options asked for that the engine shows otherwise, such as after a library has fallen back to something else."""
    shown = (*facts.options, *([("group", str(facts.group))] if facts.group is not None else []))
    found = [
        f"{name} is {actual}, the configuration says {asked[name]}"
        for name, actual in shown
        if name in asked and actual != asked[name]
    ]
    graphs = facts.cuda_graphs
    if graphs is not None and "graphs" in asked and (graphs != "none") != (asked["graphs"] == "on"):
        found.append(f"CUDA graphs are {graphs}, the configuration says {asked['graphs']}")
    if facts.prefix_caching:
        found.append("prompts seen before are looked up in a prefix cache, not computed")
    return found
