"""The options of engine torch-graph, defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass

from servewatt.errors import InputError
from servewatt.records import Configuration, Precision, Provider

_QUANTISED = frozenset({Precision.INT8, Precision.INT4})
_CUDA_ONLY = frozenset({("attention", "split"), ("prefill_products", "auto")})
"""As is any option's value triton."""
_LEAST_GROUP = 64
"""Inputs of int4 that share a scale, at least, for `kernels.integer_matvec`."""


@dataclass(frozen=True)
class Choices:
    """The options of a configuration, defaults filled in."""

    compile: str
    steps: int
    attention: str
    one_row: str
    bucket: int
    merge: bool
    whole_step: bool
    captured_prefill: bool
    prefill_products: str
    step_products: str
    linear: str
    compute: Precision
    group: int
    inductor: str

    @classmethod
    def of(cls, configuration: Configuration) -> Choices:
        given = dict(configuration.options)
        on_gpu = configuration.provider is Provider.CUDA
        compute = configuration.precision
        if compute in _QUANTISED:
            compute = Precision(given.get("compute", "bf16" if on_gpu else "fp32"))
        elif given.get("compute", compute.value) != compute.value:
            raise InputError(
                f"{configuration.key}: option compute is for int8 and int4", f"precision {given['compute']}"
            )
        if "group" in given and configuration.precision is not Precision.INT4:
            raise InputError(f"{configuration.key}: option group is for int4", "leave it out")
        for name, value in given.items():
            if not on_gpu and (value == "triton" or (name, value) in _CUDA_ONLY):
                raise InputError(f"{configuration.key}: option {name}={value} is for CUDA", "leave it out")
        timed = on_gpu and configuration.precision in _QUANTISED and compute is Precision.BF16
        prefill_products = given.get("prefill_products", "auto" if timed else "unpacked")
        if prefill_products != "unpacked" and configuration.precision not in _QUANTISED:
            raise InputError(
                f"{configuration.key}: option prefill_products={prefill_products} is for int8 and int4", "leave it out"
            )
        several = timed and configuration.batch > 1
        step_products = given.get("step_products", "triton" if several else "unpacked")
        if step_products == "triton" and (configuration.precision not in _QUANTISED or configuration.batch == 1):
            raise InputError(
                f"{configuration.key}: option step_products=triton is for int8 and int4 at batch 2 or more",
                "leave it out",
            )
        whole_step = given.get("region", "layer") == "step"
        group = int(given.get("group", "64"))
        attention = given.get("attention", "triton" if on_gpu else "sdpa")
        own = on_gpu and configuration.batch == 1 and not whole_step and attention in {"triton", "split"}
        own = own and group >= _LEAST_GROUP
        one_row = given.get("one_row", "triton" if own else "compiled")
        if one_row == "triton" and not own:
            raise InputError(
                f"{configuration.key}: option one_row=triton goes with batch 1, region=layer, attention=triton or "
                f"split and groups of {_LEAST_GROUP} or more",
                "leave it out",
            )
        # Inductor compiles no product with packed weights.
        packs = not on_gpu and configuration.precision not in _QUANTISED and given.get("compile", "off") == "off"
        linear = given.get("linear", "packed" if packs else "plain")
        if linear == "packed" and not packs:
            raise InputError(
                f"{configuration.key}: option linear=packed is for floating weights on the CPU with compile=off",
                "leave it out",
            )
        # Tuning is for products of a matrix and a vector; those of two matrices are the library's strength.
        tuned = "max-autotune" if configuration.batch == 1 else "default"
        return cls(
            compile=given.get("compile", tuned if on_gpu else "off"),
            steps=int(given.get("steps", "8")),
            attention=attention,
            one_row=one_row,
            bucket=int(given.get("bucket", "128")),
            merge=given.get("merge", "on") == "on",
            whole_step=whole_step,
            captured_prefill=given.get("prefill", "graph" if on_gpu else "eager") == "graph",
            prefill_products=prefill_products,
            step_products=step_products,
            linear=linear,
            compute=compute,
            group=group,
            inductor=given.get("inductor", ""),
        )
