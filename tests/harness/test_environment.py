from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from servewatt.engines.shared.host import cpu_quota, cpu_threads, usable_cpus
from servewatt.harness.environment import (
    container,
    cpu_features,
    cpu_model,
    describe,
    describe_gpus,
    governor,
    last_level_cache,
    package_versions,
    usable_memory,
    virtual_machine,
)
from servewatt.harness.runner import worker_environment
from servewatt.records import Component, Configuration, Domain, Grade
from tests.meters.fake_nvml import FakeBoard, FakeNvml

GIB = 2**30
X86 = "processor\t: 0\nmodel name\t: Some(R) CPU   @ 2.0GHz\nflags\t\t: fpu avx2 avx512f amx_bf16{}\n\nprocessor\t: 1\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_a_whole_machine(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/cpuinfo": X86.format(""),
            "proc/meminfo": f"MemTotal:       {16 * 2**20} kB\nMemFree: 1 kB\n",
            "proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        },
    )
    domain = Domain("gpu:0", Component.GPU, Grade.COUNTER, 0.1)
    nvml = FakeNvml(FakeBoard(limit_mw=700_000))
    found = describe([domain], 27e9, root=tmp_path, nvml=nvml)
    assert (found.cpu, found.memory_bytes) == ("Some(R) CPU @ 2.0GHz", 16 * GIB)
    assert (found.kernel, found.system) == ("6.1.0-18-amd64", "Debian GNU/Linux 12 (bookworm)")
    assert (found.governor, found.virtual_machine, found.container) == ("powersave", None, None)
    assert found.cpu_features == ("avx2", "avx512f", "amx_bf16")
    assert (found.memory_bandwidth_bytes_s, found.domains) == (27e9, (domain,))
    (gpu,) = found.gpus
    assert (gpu.name, gpu.driver, gpu.power_limit_w, gpu.memory_bytes) == ("NVIDIA Test", "580.1", 700.0, 80 * GIB)
    assert nvml.open == 0


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = describe(root=tmp_path, nvml=FakeNvml(starts=False))
    assert found.cpu and found.kernel and found.system
    assert (found.memory_bytes, found.cache_bytes, found.gpus) == (None, None, ())


def test_an_arm_cpu_has_no_model_name() -> None:
    text = "processor\t: 0\nFeatures\t: fp asimd asimddp sve i8mm\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"
    assert cpu_model(text).endswith("implementer 0x41 part 0xd40")
    assert cpu_features(text) == ("asimd", "asimddp", "i8mm", "sve")


def test_limits_of_the_unified_control_groups(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/meminfo": f"MemTotal: {16 * 2**20} kB\n",
            "proc/self/cgroup": "0::/system.slice/job\n",
            "sys/fs/cgroup/system.slice/job/cpu.max": "max 100000\n",
            "sys/fs/cgroup/system.slice/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/system.slice/job/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/system.slice/memory.max": "max\n",
        },
    )
    assert cpu_quota(tmp_path) == 0.5
    assert usable_cpus(tmp_path) == 1
    assert usable_memory(tmp_path) == 4 * GIB


@pytest.mark.parametrize(
    ("quota", "threads"), [("200000", 2), ("250000", 3), ("1000", 1), ("9900000", 64), ("max", 64)]
)
def test_threads_are_no_more_than_the_control_group_s_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, threads: int
) -> None:
    """A container of two CPUs on a machine of 64 sees all of them in its affinity."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(64)))
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota} 100000\n"})
    assert cpu_threads(Configuration("torch"), tmp_path) == threads
    assert cpu_threads(Configuration("torch", threads=5), tmp_path) == 5


def test_a_worker_s_pools_have_the_threads_of_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(64)))
    monkeypatch.setattr("servewatt.engines.shared.host.cpu_quota", lambda _root: 2.0)
    assert worker_environment(Configuration("torch"))["OMP_NUM_THREADS"] == "2"
    assert worker_environment(Configuration("torch", threads=5))["OMP_NUM_THREADS"] == "5"


def test_limits_of_the_older_control_groups(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/meminfo": f"MemTotal: {16 * 2**20} kB\n",
            "proc/self/cgroup": "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert cpu_quota(tmp_path) == 1.5
    assert usable_memory(tmp_path) == 16 * GIB


def test_without_limits_there_is_no_quota(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"})
    assert cpu_quota(tmp_path) is None


def test_caches_shared_by_several_cpus_count_once(tmp_path: Path) -> None:
    for cpu in range(4):
        shared = "0-1" if cpu < 2 else "2-3"
        for index, (level, size, of) in enumerate((("1", "32K", str(cpu)), ("3", "16M", shared))):
            folder = f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
            write(tmp_path, {f"{folder}/level": level, f"{folder}/size": size, f"{folder}/shared_cpu_list": of})
    assert last_level_cache(tmp_path) == 32 * 2**20


def test_differing_governors_are_both_named(tmp_path: Path) -> None:
    for cpu, name in enumerate(("performance", "powersave", "performance")):
        write(tmp_path, {f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor": name + "\n"})
    assert governor(tmp_path) == "performance+powersave"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"proc/cpuinfo": X86.format("")}, None),
        ({"proc/cpuinfo": X86.format(""), "sys/class/dmi/id/sys_vendor": "Amazon EC2\n"}, None),
        ({"proc/cpuinfo": X86.format(" hypervisor"), "sys/class/dmi/id/sys_vendor": "Amazon EC2\n"}, "amazon"),
        ({"proc/cpuinfo": X86.format(" hypervisor"), "sys/class/dmi/id/sys_vendor": "QEMU\n"}, "qemu"),
        (
            {
                "proc/cpuinfo": X86.format(" hypervisor"),
                "sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n",
                "sys/class/dmi/id/product_name": "Virtual Machine\n",
            },
            "microsoft",
        ),
        (
            {
                "proc/cpuinfo": X86.format(" hypervisor"),
                "sys/devices/system/clocksource/clocksource0/available_clocksource": "kvm-clock tsc\n",
            },
            "kvm",
        ),
        ({"proc/cpuinfo": X86.format(" hypervisor"), "sys/hypervisor/type": "xen\n"}, "xen"),
        ({"proc/cpuinfo": X86.format(" hypervisor")}, "vm"),
        ({"proc/cpuinfo": "Features\t: fp\n", "sys/class/dmi/id/product_name": "c7g.metal\n"}, None),
        ({"proc/cpuinfo": "Features\t: fp\n", "sys/class/dmi/id/product_name": "KVM Virtual Machine\n"}, "kvm"),
    ],
)
def test_kinds_of_virtual_machine(tmp_path: Path, files: dict[str, str], kind: str | None) -> None:
    assert virtual_machine(write(tmp_path, files)) == kind


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"proc/self/cgroup": "0::/user.slice\n"}, None),
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
        ({"run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"proc/1/environ": "PATH=/bin\0container=lxc\0TERM=x\0"}, "lxc"),
        ({"proc/self/cgroup": "0::/kubepods.slice/pod1\n"}, "kubernetes"),
    ],
)
def test_kinds_of_container(tmp_path: Path, files: dict[str, str], kind: str | None) -> None:
    assert container(write(tmp_path, files)) == kind


def test_only_installed_packages_are_listed() -> None:
    found = dict(package_versions(("numpy", "no-such-package-here")))
    assert list(found) == ["numpy"] and found["numpy"]


def test_what_a_gpu_does_not_tell_is_unknown_and_not_zero() -> None:
    """A board that shares the CPU's memory, one whose limit stands for "not known", and one that is lost."""
    boards = (
        FakeBoard(memory_bytes=None),
        FakeBoard(memory_bytes=0, limit_mw=2**32 - 1),
        FakeBoard(lost=True),
    )
    found = describe_gpus(FakeNvml(*boards))
    assert [(g.memory_bytes, g.power_limit_w) for g in found] == [(None, None)] * 3
    assert [g.name for g in found] == ["NVIDIA Test", "NVIDIA Test", "GPU that cannot be read"]


def test_a_machine_recorded_with_zeros_for_the_unknown_is_the_same_machine(tmp_path: Path) -> None:
    found = describe(root=tmp_path, nvml=FakeNvml(FakeBoard(memory_bytes=None)))
    older = replace(found, memory_bytes=0, gpus=(replace(found.gpus[0], memory_bytes=0),))
    assert found.fingerprint == older.fingerprint
