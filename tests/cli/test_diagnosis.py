"""What the doctor shows of meters and of what is not known."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from servewatt.cli.doctor import show
from servewatt.experiment.diagnosis import Diagnosis, MeterDiagnosis
from servewatt.records import Component, Domain, Gpu, Grade
from servewatt.report.run.environment import environment_table
from tests.harness.builders import ENVIRONMENT

PACKAGE = Domain("cpu:package-0", Component.CPU, Grade.COUNTER, 0.001)
UNKNOWN = replace(ENVIRONMENT, memory_bytes=None, gpus=(Gpu(0, "NVIDIA GB10", None, None),))


def shown(*meters: MeterDiagnosis) -> str:
    console = Console(file=io.StringIO(), width=200, record=True)
    show(Diagnosis(UNKNOWN, 0.0, meters, (), (), fit=True), console)
    return console.export_text()


def test_what_is_unknown_is_not_shown_as_zero() -> None:
    text = shown()
    assert "NVIDIA GB10, memory not told, driver not told" in text
    assert "size not told" in text
    assert "0 GiB" not in text and "0.0 GiB" not in text
    # Nor in a report, nor where an older run recorded zeros.
    for environment in (UNKNOWN, replace(UNKNOWN, memory_bytes=0, gpus=(Gpu(0, "NVIDIA GB10", 0, ""),))):
        told = {str(name.value): value.value for name, value in environment_table(environment).rows}
        assert told["GPU 0"] == "NVIDIA GB10, memory not told, driver —"
        assert told["Memory"] == "—"


def test_what_a_meter_leaves_out_and_what_stands_still_is_told() -> None:
    remark = "machine:psys is left out: it does not count the whole platform"
    text = shown(MeterDiagnosis("rapl", "", (PACKAGE,), "", "", (remark,), ("cpu:package-0",)))
    assert remark in text
    assert "cpu:package-0 stands still: it gives no energy" in text


def test_a_part_that_cannot_be_read_is_told_with_what_to_do() -> None:
    reason, hint = "intel-rapl:1/energy_uj cannot be read: No data available", "--meter rapl:cpu:package-0"
    text = shown(MeterDiagnosis("rapl", "", (), reason, hint))
    assert reason in text and hint in text
