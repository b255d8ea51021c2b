from __future__ import annotations

import errno
from pathlib import Path

import pytest

from servewatt.errors import RefusedError, UnavailableError
from servewatt.harness.failure import EngineError, describe_failure, may_pass
from servewatt.harness.shortage import others_hold_most_memory
from servewatt.records import Provider, Status
from tests.meters.fake_nvml import FakeBoard, FakeNvml


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        EngineError("OSError: [Errno 24] Too many open files: 'x'"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        caused(UnavailableError("no room left for the onnx artefact"), OSError(errno.ENOSPC, "")),
    ],
)
def test_a_shortage_may_pass_and_is_no_refusal(error: Exception) -> None:
    assert may_pass(error)
    assert describe_failure(error)[0] is Status.FAILED


@pytest.mark.parametrize("error", [ValueError("shapes differ"), RefusedError("no such kernel"), MemoryError()])
def test_other_failures_do_not_pass(error: Exception) -> None:
    assert not may_pass(error)


@pytest.mark.parametrize(("available_kb", "others"), [(4_100_000, False), (3_900_000, True)])
def test_memory_is_held_by_others_if_less_than_half_is_left_after_the_trial(
    tmp_path: Path, available_kb: int, others: bool
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal:        8000000 kB\nMemAvailable:    {available_kb} kB\n")
    assert others_hold_most_memory(Provider.CPU, tmp_path) is others


def test_memory_of_an_unknown_machine_is_not_blamed_on_others(tmp_path: Path) -> None:
    assert not others_hold_most_memory(Provider.CPU, tmp_path)


@pytest.mark.parametrize(("used_gib", "others"), [(39, False), (41, True)])
def test_memory_of_a_gpu_is_that_of_the_board_in_use(
    monkeypatch: pytest.MonkeyPatch, used_gib: int, others: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    nvml = FakeNvml(FakeBoard("GPU-0"), FakeBoard("GPU-1", used_bytes=used_gib * 2**30))
    assert others_hold_most_memory(Provider.CUDA, nvml=nvml) is others
    assert nvml.open == 0
