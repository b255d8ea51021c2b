import errno
import os

import pytest

from servewatt.errors import RefusedError, ServewattError
from servewatt.harness.failure import EngineError, ProcessEndedError, describe_failure
from servewatt.records import Configuration, Provider, Status

TORCH = Configuration("torch", Provider.CPU)


@pytest.mark.parametrize("message", ["torch/cpu/fp32/b1: no such kernel", "no such kernel"])
def test_a_reason_leaves_out_the_configuration_that_it_is_of(message: str) -> None:
    refused = RefusedError(message, "use another")
    assert describe_failure(refused, TORCH) == (Status.REFUSED, "no such kernel", "use another")


def test_a_reason_keeps_the_name_of_another_configuration() -> None:
    other = ServewattError("torch/cpu/fp32/b64: no such kernel")
    assert describe_failure(other, TORCH)[1] == "torch/cpu/fp32/b64: no such kernel"
    assert describe_failure(other)[1] == "torch/cpu/fp32/b64: no such kernel"


@pytest.mark.parametrize(
    ("error", "status", "hint"),
    [
        (MemoryError("std::bad_alloc"), Status.OUT_OF_MEMORY, "smaller batch"),
        (EngineError("RuntimeError: CUDA out of memory"), Status.OUT_OF_MEMORY, "smaller batch"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes. Error code 12"),
            Status.OUT_OF_MEMORY,
            "smaller batch",
        ),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), Status.OUT_OF_MEMORY, "smaller batch"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), Status.FAILED, "free disk space"),
        (ValueError("shapes differ"), Status.FAILED, ""),
    ],
)
def test_what_an_exception_means(error: Exception, status: Status, hint: str) -> None:
    found = describe_failure(error, TORCH)
    assert found[0] is status
    assert hint in found[2]


def test_a_process_that_is_gone_says_how_it_ended() -> None:
    outcome = (Status.CRASHED, "the server was killed by SIGSEGV", "try it alone")
    assert describe_failure(ProcessEndedError(outcome), TORCH) == outcome
