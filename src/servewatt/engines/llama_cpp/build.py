"""How llama-cpp-python is compiled for the environment of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")

_SWITCHES = (
    ("GGML_SSE42", ("sse4_2",)),
    ("GGML_AVX", ("avx",)),
    ("GGML_AVX2", ("avx2",)),
    ("GGML_FMA", ("fma",)),
    ("GGML_F16C", ("f16c",)),
    ("GGML_BMI2", ("bmi2",)),
    ("GGML_AVX_VNNI", ("avx2", "avx_vnni")),
    ("GGML_AVX512", ("avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw")),
    ("GGML_AVX512_VBMI", ("avx512f", "avx512vbmi")),
    ("GGML_AVX512_VNNI", ("avx512f", "avx512_vnni")),
    ("GGML_AVX512_BF16", ("avx512f", "avx512_bf16")),
)
"""Switch of ggml's build -> flags of the CPU that it needs, as /proc/cpuinfo writes them.

AMX is left out: a CPU shows its flags in virtual machines whose kernel grants no tiles, and code that uses them dies
there of a general protection fault. For the same reason nothing is left to -march=native.
"""
_X86 = "sse4_2"


class BuildVariables(Mapping[str, str]):
    """Environment variables of the build, for the CPU of this machine; looked at when first asked for."""

    def __init__(self, cpu_info: Path = CPU_INFO) -> None:
        self._cpu_info = cpu_info

    @cached_property
    def _variables(self) -> dict[str, str]:
        flags = cpu_flags(self._cpu_info)
        # Where the flags are those of another family of CPUs, the compiler knows better than this table.
        native = _X86 not in flags
        switches = [("GGML_NATIVE", native), ("LLAVA_BUILD", False), ("LLAMA_CURL", False), ("LLAMA_OPENSSL", False)]
        if not native:
            switches += [(name, flags.issuperset(needed)) for name, needed in _SWITCHES]
        return {"CMAKE_ARGS": " ".join(f"-D{name}={'ON' if on else 'OFF'}" for name, on in switches)}

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def cpu_flags(path: Path = CPU_INFO) -> frozenset[str]:
    """Flags of the first CPU, as the kernel names them; empty if unknown."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())
