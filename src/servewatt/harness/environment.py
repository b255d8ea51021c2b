"""The machine and software of a run, read from /proc, /sys and NVML without importing an engine."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from servewatt.engines.shared.host import control_groups, text_of, usable_cpus
from servewatt.errors import UnavailableError
from servewatt.meters.nvml_boards import ask, board_count, decode, open_nvml, power_limit_w
from servewatt.records import Domain, Environment, Gpu

PACKAGES = (
    "servewatt", "torch", "transformers", "safetensors", "tokenizers", "numpy", "onnx", "onnxruntime",
    "onnxruntime-gpu", "openvino", "llama-cpp-python", "ctranslate2", "vllm", "nvidia-ml-py",
)  # fmt: skip

CPU_FEATURES = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "amx_fp16",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "svebf16",
)  # fmt: skip

_DMI_VENDORS = (
    ("kvm", ("KVM", "OpenStack", "KubeVirt")),
    ("amazon", ("Amazon EC2",)),
    ("google", ("Google Compute Engine",)),
    ("qemu", ("QEMU", "Bochs")),
    ("vmware", ("VMware", "VMW")),
    ("oracle", ("innotek GmbH", "VirtualBox")),
    ("xen", ("Xen",)),
    ("microsoft", ("Hyper-V", "Microsoft Corporation")),
    ("parallels", ("Parallels",)),
    ("apple", ("Apple Virtualization",)),
)


def describe(
    domains: Sequence[Domain] = (),
    bandwidth: float | None = None,
    *,
    root: Path = Path("/"),
    nvml: Any = None,
) -> Environment:
    """The machine as this process sees it.

    `bandwidth` is its measured memory bandwidth in bytes/s. Files are read below `root`; `nvml` stands in for the
    NVML binding.
    """
    cpuinfo = text_of(root / "proc/cpuinfo")
    return Environment(
        cpu=cpu_model(cpuinfo),
        cpu_count=usable_cpus(root),
        memory_bytes=usable_memory(root),
        kernel=text_of(root / "proc/sys/kernel/osrelease").strip() or platform.release(),
        system=_system(root),
        python=platform.python_version(),
        gpus=describe_gpus(nvml),
        governor=governor(root),
        virtual_machine=virtual_machine(root),
        container=container(root),
        cpu_features=cpu_features(cpuinfo),
        cache_bytes=last_level_cache(root),
        memory_bandwidth_bytes_s=bandwidth,
        packages=package_versions(),
        domains=tuple(domains),
    )


def cpu_model(cpuinfo: str) -> str:
    """Model name from the text of /proc/cpuinfo; on ARM, which has none, implementer and part."""
    fields = dict(reversed(re.findall(r"^([^\t\n:]+?)\s*: (.*)$", cpuinfo, re.MULTILINE)))
    if name := fields.get("model name") or fields.get("Model"):
        return " ".join(name.split())
    if "CPU part" in fields:
        return f"{platform.machine()} implementer {fields.get('CPU implementer', '?')} part {fields['CPU part']}"
    return platform.processor() or platform.machine()


def cpu_features(cpuinfo: str) -> tuple[str, ...]:
    """The instruction sets of CPU_FEATURES that the first CPU has."""
    match = re.search(r"^(?:flags|Features)\s*: (.*)$", cpuinfo, re.MULTILINE)
    flags = set(match[1].split()) if match else set()
    return tuple(feature for feature in CPU_FEATURES if feature in flags)


def usable_memory(root: Path = Path("/")) -> int | None:
    """Bytes of memory this process may use: the machine's, or the limit of its control group; None if unknown."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", text_of(root / "proc/meminfo"), re.MULTILINE)
    total = int(match[1]) * 1024 if match else 0
    limits = [text_of(folder / "memory.max").strip() for folder in control_groups(root, "")]
    limits += [text_of(folder / "memory.limit_in_bytes").strip() for folder in control_groups(root, "memory")]
    return min([int(limit) for limit in limits if limit.isdigit()] + ([total] if total else []), default=None)


def last_level_cache(root: Path = Path("/")) -> int | None:
    """Bytes of all last-level CPU caches together; None where the kernel does not tell."""
    caches: dict[tuple[int, str], int] = {}
    for index in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cache/index*"):
        level, size, shared = (text_of(index / name).strip() for name in ("level", "size", "shared_cpu_list"))
        if level.isdigit() and (match := re.fullmatch(r"(\d+)([KMG]?)", size)):
            caches[int(level), shared] = int(match[1]) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[match[2]]
    last = max((level for level, _ in caches), default=0)
    return sum(size for (level, _), size in caches.items() if level == last) or None


def governor(root: Path = Path("/")) -> str | None:
    """Frequency governor of the CPUs (`performance+powersave` if they differ); None without frequency control."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return "+".join(sorted({name for file in files if (name := text_of(file).strip())})) or None


def virtual_machine(root: Path = Path("/")) -> str | None:
    """Kind of hypervisor below this system, in systemd-detect-virt's words; None on bare metal.

    `vm` when the CPU says that there is one but nothing tells which.
    """
    cpuinfo = text_of(root / "proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    hypervisor = bool(flags and "hypervisor" in flags[1].split())
    if flags and not hypervisor:
        # Makers' names stand on bare-metal machines of the clouds too, so on x86 the CPU's word comes first.
        return None
    names = [
        text_of(root / "sys/class/dmi/id" / file).strip()
        for file in ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version")
    ]
    if any(".metal" in name for name in names):
        return None
    for kind, vendors in _DMI_VENDORS:
        if any(name.startswith(vendor) for name in names for vendor in vendors):
            return kind
    if xen := text_of(root / "sys/hypervisor/type").strip():
        return xen
    clocks = text_of(root / "sys/devices/system/clocksource/clocksource0/available_clocksource")
    for clock, kind in (("kvm-clock", "kvm"), ("hyperv", "microsoft")):
        if clock in clocks:
            return kind
    return "vm" if hypervisor else None


def container(root: Path = Path("/")) -> str | None:
    """Kind of container around this process; None outside of one, or if nothing shows it."""
    if named := text_of(root / "run/systemd/container").strip():
        return named
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists():
        return "docker"
    variable = re.search(r"(?:^|\0)container=([^\0]+)", text_of(root / "proc/1/environ"))
    if variable:
        return variable[1]
    groups = text_of(root / "proc/self/cgroup")
    kinds = {"kubepods": "kubernetes", "docker": "docker", "libpod": "podman", "lxc": "lxc", "containerd": "containerd"}
    return next((kind for mark, kind in kinds.items() if mark in groups), None)


UNNAMED_GPU = "GPU without a name"
UNREADABLE_GPU = "GPU that cannot be read"
"""Stands for the name of a board that NVML counts but does not open, such as one that has fallen off the bus."""


def describe_gpus(nvml: Any = None) -> tuple[Gpu, ...]:
    """The machine's NVIDIA GPUs; none where NVML is missing."""
    try:
        nvml = open_nvml(nvml)
    except UnavailableError:
        return ()
    gpus = []
    driver = decode(ask(nvml, "nvmlSystemGetDriverVersion"))
    for index in range(board_count(nvml) or 0):
        handle = ask(nvml, "nvmlDeviceGetHandleByIndex", index)
        if handle is None:
            gpus.append(Gpu(index, UNREADABLE_GPU, None, driver))
            continue
        memory = ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
        gpus.append(
            Gpu(
                index=index,
                name=decode(ask(nvml, "nvmlDeviceGetName", handle)) or UNNAMED_GPU,
                memory_bytes=None if memory is None else memory.total or None,
                driver=driver,
                power_limit_w=power_limit_w(nvml, handle),
            )
        )
    ask(nvml, "nvmlShutdown")
    return tuple(gpus)


def package_versions(names: Sequence[str] = PACKAGES) -> tuple[tuple[str, str], ...]:
    """(name, version) of those of the packages that are installed; none is imported."""
    found = []
    for name in names:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


def _system(root: Path) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', text_of(root / "etc/os-release"), re.MULTILINE)
    return match[1] if match else platform.system()
