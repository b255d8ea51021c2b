"""Whether this machine is fit for measuring now: its memory bandwidth, its load, and other disturbances."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from servewatt.engines.shared.host import cpu_quota, text_of, usable_cpus
from servewatt.errors import UnavailableError
from servewatt.harness.environment import last_level_cache, usable_memory
from servewatt.meters.cpu_times import PROC, ProcessStat, known_system_cpu, processes
from servewatt.meters.nvml import GpuProcess, other_gpu_processes
from servewatt.meters.nvml_boards import ask, open_nvml
from servewatt.meters.utilisation import throttled
from servewatt.records import Component, Environment, Grade

LOAD_LIMIT = 0.05
"""Share of the CPUs that others may use before trials become invalid (Procedure.foreign_limit)."""

STOLEN_LIMIT = 0.02

LEAST_MEMORY_BYTES = 4 * 2**30


class Severity(StrEnum):
    """How much a finding matters, least first."""

    FINE = "fine"
    NOTE = "note"
    """Information; it does not affect measuring."""
    WARNING = "warning"
    """Results will be noisier or less certain."""
    UNFIT = "unfit"
    """Trials measured now would be invalid or misleading."""


@dataclass(frozen=True)
class Finding:
    """One aspect of the machine: the state found, and what to do about it (empty when there is nothing)."""

    severity: Severity
    topic: str
    state: str
    advice: str = ""


@dataclass(frozen=True)
class IdleLoad:
    """CPU use of other processes while watched, as shares of all CPUs together, 0 to 1."""

    busy_share: float
    """All CPU time but our own process's; includes the kernel's and that of short-lived processes."""
    stolen_share: float | None
    """None where the kernel does not tell."""
    offenders: tuple[tuple[str, float], ...]
    """(name with pid, share) of the busiest processes, busiest first."""


@dataclass(frozen=True)
class GpuState:
    """The state of a GPU that matters for measuring; None where it cannot be told."""

    index: int
    persistence: bool | None
    throttled: bool | None
    mig: bool


@dataclass(frozen=True)
class MachineState:
    """Conditions that change from minute to minute; None where unknown."""

    turbo: bool | None = None
    available_bytes: int | None = None
    swap_used_bytes: int | None = None
    on_battery: bool | None = None
    throttle_events: int | None = None
    """Times the CPUs were slowed down by heat since boot."""
    cpu_quota: float | None = None
    """CPUs' worth of time the container may use."""
    gpus: tuple[GpuState, ...] = ()
    gpu_processes: tuple[GpuProcess, ...] | None = None
    """Processes of others that compute on a GPU."""
    still_counters: tuple[str, ...] = ()
    """Domains whose energy counter stands still."""


def memory_bandwidth_bytes_s(duration_s: float = 1.0, *, threads: int | None = None) -> float:
    """Measured read bandwidth of main memory, in bytes/s: the best of rounds of a tenth of a second.

    Every CPU takes the maximum over an int32 array of its own, again and again; numpy does that with vector loads
    and without the interpreter lock, and reaches what PyTorch's reductions do. All arrays together are four times
    the last-level cache (256 MiB at least), but at most an eighth of memory. The best round is taken because it is
    what the hardware can do; the others were disturbed.
    """
    import numpy as np

    workers = threads or usable_cpus()
    total = max(4 * (last_level_cache() or 0), 256 * 2**20)
    if memory := usable_memory():
        total = min(total, memory // 8)
    arrays: list[Any] = [None] * workers

    def fill(worker: int) -> None:
        # Written by the thread that reads it, so that its pages come from the nearest memory.
        arrays[worker] = np.ones(max(1, total // workers // 4), np.int32)

    def read(worker: int) -> None:
        array, passes = arrays[worker], 0
        start_s = now_s = time.perf_counter()
        while now_s < end_s:
            np.maximum.reduce(array)
            passes += 1
            now_s = time.perf_counter()
        rates[worker] = passes * array.nbytes / (now_s - start_s) if passes else 0.0

    rates = [0.0] * workers
    _all_at_once(fill, workers)
    best = 0.0
    last_s = time.perf_counter() + duration_s
    while best == 0.0 or time.perf_counter() < last_s:
        end_s = time.perf_counter() + 0.1
        _all_at_once(read, workers)
        best = max(best, sum(rates))
    return best


def idle_load(
    duration_s: float = 1.0,
    *,
    own_pids: Collection[int] = (),
    top: int = 3,
    proc: Path = PROC,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> IdleLoad:
    """CPU time that others use during `duration_s`; this process and `own_pids` are not others.

    Where the kernel does not tell the machine's CPU times, those of the processes that can be seen are all there is.
    """
    own = {os.getpid(), *own_pids}
    system, start_s, before = known_system_cpu(proc), clock(), {p.pid: p for p in processes(proc)}
    pause(duration_s)
    after, later, end_s = {p.pid: p for p in processes(proc)}, known_system_cpu(proc), clock()
    cpu_s = (end_s - start_s) * max(1, later.cpu_count if later else usable_cpus())

    def spent(process: ProcessStat) -> float:
        earlier = before.get(process.pid)
        return process.cpu_s - earlier.cpu_s if earlier else process.cpu_s

    own_s = sum(spent(p) for p in after.values() if p.pid in own)
    shares = [(f"{p.name} ({p.pid})", spent(p) / cpu_s) for p in after.values() if p.pid not in own]
    offenders = sorted((s for s in shares if s[1] >= 0.005), key=lambda s: -s[1])[:top]
    # The machine's times are counted in ticks and miss short bursts; those of processes are exact.
    busy_s = cpu_s * sum(share for _, share in shares)
    stolen_share = None
    if system is not None and later is not None:
        busy_s = max(busy_s, later.busy_s - system.busy_s - own_s)
        stolen_share = min(1.0, max(0.0, (later.stolen_s - system.stolen_s) / cpu_s))
    return IdleLoad(
        busy_share=min(1.0, max(0.0, busy_s / cpu_s)),
        stolen_share=stolen_share,
        offenders=tuple(offenders),
    )


def machine_state(root: Path = Path("/"), *, own_pids: Collection[int] = (), nvml: Any = None) -> MachineState:
    """The state of the machine now, from files below `root` and from NVML."""
    meminfo = dict(re.findall(r"^(\w+):\s+(\d+) kB", text_of(root / "proc/meminfo"), re.MULTILINE))
    available = int(meminfo["MemAvailable"]) * 1024 if "MemAvailable" in meminfo else None
    swap = None
    if "SwapTotal" in meminfo and "SwapFree" in meminfo:
        swap = (int(meminfo["SwapTotal"]) - int(meminfo["SwapFree"])) * 1024
    cpus = root / "sys/devices/system/cpu"
    counts = [text_of(file).strip() for file in cpus.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    return MachineState(
        turbo=_turbo(cpus),
        available_bytes=available,
        swap_used_bytes=swap,
        on_battery=_on_battery(root / "sys/class/power_supply"),
        throttle_events=sum(int(c) for c in counts if c.isdigit()) if counts else None,
        cpu_quota=cpu_quota(root),
        gpus=_gpu_states(nvml),
        gpu_processes=other_gpu_processes({os.getpid(), *own_pids}, nvml),
    )


def assess(environment: Environment, state: MachineState, load: IdleLoad | None = None) -> tuple[Finding, ...]:
    """Every aspect that could be checked, with the state found, most important first."""
    findings = [
        *_assess_meters(environment, state),
        *_assess_load(load),
        *_assess_clocks(environment, state),
        *_assess_memory(environment, state),
        *_assess_container(environment, state),
        *_assess_gpus(environment, state),
    ]
    order = list(Severity)
    return tuple(sorted(findings, key=lambda f: -order.index(f.severity)))


def is_fit(findings: Collection[Finding]) -> bool:
    """Whether nothing found forbids measuring now."""
    return all(f.severity is not Severity.UNFIT for f in findings)


def _assess_meters(environment: Environment, state: MachineState) -> list[Finding]:
    advice = "trials with it are refused: name meters that work with --meter"
    findings = [
        Finding(Severity.UNFIT, f"{name} energy", "its counter stands still", advice) for name in state.still_counters
    ]
    domains = [d for d in environment.domains if d.name not in state.still_counters]
    covering = [d for d in domains if d.component in (Component.CPU, Component.MACHINE)]
    where = " in a virtual machine" if environment.virtual_machine else ""
    if any(d.grade is Grade.COUNTER for d in covering):
        names = ", ".join(d.name for d in covering if d.grade is Grade.COUNTER and d.within is None)
        findings.append(Finding(Severity.FINE, "CPU energy", f"counted ({names})"))
    elif covering:
        advice = "give the CPUs' real watts with --cpu-watts IDLE,MAX, or measure where RAPL can be read"
        findings.append(Finding(Severity.WARNING, "CPU energy", f"estimated from utilisation{where}", advice))
    else:
        findings.append(Finding(Severity.WARNING, "CPU energy", f"no meter{where}", "see the meters' own hints"))
    metered = {d.name for d in environment.domains if d.component is Component.GPU}
    for gpu in environment.gpus:
        if f"gpu:{gpu.index}" not in metered:
            advice = "energy of this board would be missing: use the nvml meter"
            findings.append(Finding(Severity.WARNING, f"GPU {gpu.index} energy", "no meter", advice))
    return findings


def _assess_load(load: IdleLoad | None) -> list[Finding]:
    if load is None:
        return []
    busiest = ", ".join(f"{name} {100 * share:.1f} %" for name, share in load.offenders)
    state = f"others use {100 * load.busy_share:.1f} % of the CPUs" + (f": {busiest}" if busiest else "")
    if load.busy_share > LOAD_LIMIT:
        advice = f"stop them: trials with more than {100 * LOAD_LIMIT:.0f} % are invalid and repeated"
        findings = [Finding(Severity.UNFIT, "load", state, advice)]
    else:
        findings = [Finding(Severity.FINE, "load", state)]
    if load.stolen_share is not None and load.stolen_share > STOLEN_LIMIT:
        state = f"the hypervisor gives {100 * load.stolen_share:.1f} % of the CPUs' time to others"
        advice = "times will scatter: use a dedicated host, or more blocks"
        findings.append(Finding(Severity.WARNING, "stolen time", state, advice))
    return findings


def _assess_clocks(environment: Environment, state: MachineState) -> list[Finding]:
    findings = []
    if environment.governor == "performance":
        findings.append(Finding(Severity.FINE, "governor", "performance"))
    elif environment.governor is not None:
        advice = "clocks follow the load: sudo cpupower frequency-set -g performance"
        findings.append(Finding(Severity.WARNING, "governor", environment.governor, advice))
    if state.turbo is not None:
        advice = "short trials run at higher clocks than long ones; fair while all trials last alike"
        finding = Finding(Severity.NOTE, "turbo", "on", advice)
        findings.append(finding if state.turbo else Finding(Severity.FINE, "turbo", "off"))
    if state.on_battery is not None:
        advice = "plug it in: on battery the firmware lowers power limits"
        finding = Finding(Severity.UNFIT, "power supply", "battery", advice)
        findings.append(finding if state.on_battery else Finding(Severity.FINE, "power supply", "mains"))
    if state.throttle_events:
        text = f"CPUs were slowed down by heat {state.throttle_events} times since boot"
        findings.append(Finding(Severity.NOTE, "heat", text, "improve cooling if the number grows during a run"))
    return findings


def _assess_memory(environment: Environment, state: MachineState) -> list[Finding]:
    findings = []
    if state.available_bytes is not None:
        available, whole = state.available_bytes, environment.memory_bytes
        text = f"{available / 2**30:.1f} GiB available"
        if whole:
            available = min(available, whole)
            text = f"{available / 2**30:.1f} GiB of {whole / 2**30:.1f} GiB available"
        scarce = available < LEAST_MEMORY_BYTES
        advice = "close other programs, or choose a smaller model: exports hold the weights more than once"
        finding = Finding(Severity.WARNING, "memory", text, advice)
        findings.append(finding if scarce else Finding(Severity.FINE, "memory", text))
    if state.swap_used_bytes:
        text = f"{state.swap_used_bytes / 2**20:.0f} MiB in use"
        advice = "pages may move in during a window: sudo swapoff -a && sudo swapon -a"
        findings.append(Finding(Severity.NOTE, "swap", text, advice))
    return findings


def _assess_container(environment: Environment, state: MachineState) -> list[Finding]:
    if state.cpu_quota is not None:
        text = f"time limited to {state.cpu_quota:g} CPUs"
        advice = "threads are paused when the quota is spent: bind to CPUs instead (--cpuset-cpus)"
        return [Finding(Severity.WARNING, "container", text, advice)]
    if environment.container is not None:
        return [Finding(Severity.FINE, "container", f"{environment.container}, no CPU limit")]
    return []


def _assess_gpus(environment: Environment, state: MachineState) -> list[Finding]:
    findings = []
    for gpu in state.gpus:
        topic = f"GPU {gpu.index}"
        if gpu.persistence is False:
            advice = f"the driver unloads between trials: sudo nvidia-smi -i {gpu.index} -pm 1"
            findings.append(Finding(Severity.WARNING, topic, "persistence mode off", advice))
        if gpu.throttled:
            advice = "let it cool down, or improve its cooling or supply"
            findings.append(Finding(Severity.UNFIT, topic, "clocks held down by heat or power supply", advice))
        if gpu.mig:
            advice = "energy is the whole board's, including its other instances: leave them idle"
            findings.append(Finding(Severity.WARNING, topic, "partitioned (MIG)", advice))
    if state.gpu_processes:
        names = ", ".join(f"{p.name} ({p.pid}) on GPU {p.gpu}" for p in state.gpu_processes)
        advice = "stop them: their energy cannot be told from a trial's"
        findings.append(Finding(Severity.UNFIT, "GPU processes", names, advice))
    elif environment.gpus:
        text = "cannot be told here" if state.gpu_processes is None else "none but ours"
        severity = Severity.NOTE if state.gpu_processes is None else Severity.FINE
        findings.append(Finding(severity, "GPU processes", text))
    return findings


def _gpu_states(nvml: Any) -> tuple[GpuState, ...]:
    try:
        nvml = open_nvml(nvml)
    except UnavailableError:
        return ()
    states = []
    for index in range(ask(nvml, "nvmlDeviceGetCount") or 0):
        handle = ask(nvml, "nvmlDeviceGetHandleByIndex", index)
        if handle is None:
            continue
        persistence = ask(nvml, "nvmlDeviceGetPersistenceMode", handle)
        mig_mode = ask(nvml, "nvmlDeviceGetMigMode", handle)
        states.append(
            GpuState(
                index=index,
                persistence=None if persistence is None else bool(persistence),
                throttled=throttled(nvml, handle),
                mig=bool(mig_mode and mig_mode[0]),
            )
        )
    ask(nvml, "nvmlShutdown")
    return tuple(states)


def _turbo(cpus: Path) -> bool | None:
    if (no_turbo := text_of(cpus / "intel_pstate/no_turbo").strip()) in ("0", "1"):
        return no_turbo == "0"
    if (boost := text_of(cpus / "cpufreq/boost").strip()) in ("0", "1"):
        return boost == "1"
    return None


def _on_battery(supplies: Path) -> bool | None:
    """True when no mains supply is connected but a system battery discharges."""
    mains, discharging = [], False
    for supply in supplies.glob("*"):
        kind = text_of(supply / "type").strip()
        if kind == "Mains":
            mains.append(text_of(supply / "online").strip() == "1")
        elif kind == "Battery" and text_of(supply / "scope").strip() != "Device":
            discharging |= text_of(supply / "status").strip() == "Discharging"
    if any(mains):
        return False
    return True if discharging else (False if mains else None)


def _all_at_once(task: Callable[[int], None], workers: int) -> None:
    threads = [threading.Thread(target=task, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
