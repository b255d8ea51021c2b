"""The machine and its software."""

from __future__ import annotations

from servewatt.errors import counted
from servewatt.records import Domain, Environment, Grade
from servewatt.report import units
from servewatt.report.table import Column, Entry, Table
from servewatt.report.units import DASH


def environment_table(environment: Environment) -> Table:
    """The machine and its software, as name and value."""
    bandwidth = environment.memory_bandwidth_bytes_s
    pairs = [
        ("CPU", f"{environment.cpu}, {counted(environment.cpu_count, 'CPU')} usable"),
        ("Instruction sets", " ".join(environment.cpu_features) or DASH),
        ("Last-level cache", units.memory(environment.cache_bytes)),
        ("Memory", units.memory(environment.memory_bytes or None)),
        ("Memory reads", DASH if bandwidth is None else units.with_unit(bandwidth, units.si([bandwidth], "B/s"))),
    ]
    for gpu in environment.gpus:
        limit = "" if gpu.power_limit_w is None else f", limit {units.number(gpu.power_limit_w)} W"
        memory = units.memory(gpu.memory_bytes) if gpu.memory_bytes else "memory not told"
        pairs.append((f"GPU {gpu.index}", f"{gpu.name}, {memory}, driver {gpu.driver or DASH}{limit}"))
    pairs += [
        ("Governor", environment.governor or "unknown"),
        ("Virtual machine", environment.virtual_machine or "no, or unknown"),
        ("Container", environment.container or "no, or unknown"),
        ("System", f"{environment.system}, kernel {environment.kernel}"),
        ("Python", environment.python),
        ("Packages", ", ".join(f"{name} {version}" for name, version in environment.packages) or DASH),
        ("Energy domains", ", ".join(map(_domain, environment.domains)) or "none: no meter was available"),
        ("Fingerprint", environment.fingerprint),
    ]
    columns = (Column("name", "what"), Column("value", "as found"))
    return Table("environment", "Where it ran", columns, tuple((Entry(a), Entry(b)) for a, b in pairs))


def _domain(domain: Domain) -> str:
    sign = "~" if domain.grade is Grade.ESTIMATED else ""
    inside = f", within {domain.within}" if domain.within else ""
    return f"{sign}{domain.name} ({domain.grade.value}, quantum {units.duration(domain.quantum_s)}{inside})"
