"""The sampling process between slices: it pauses, resumes and stops in every state."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from servewatt.harness import sampler
from servewatt.harness.failure import ProcessEndedError
from servewatt.harness.sampler import Sampler, SamplerOrder, Samples
from servewatt.meters.cpu_times import threads_cpu_s
from servewatt.records import Status


@pytest.fixture
def sampling() -> Iterator[Sampler]:
    started = Sampler(SamplerOrder(os.getpid(), 0.02, ("fake",), None))
    yield started
    started.kill()


def test_a_pause_gives_what_was_seen_since_and_the_next_begins_anew(sampling: Sampler) -> None:
    time.sleep(0.2)
    first = sampling.pause()
    assert len(first.utilisation) >= 3
    paused_s = time.monotonic()
    time.sleep(0.2)
    resumed_s = time.monotonic()
    sampling.resume()
    time.sleep(0.2)
    second = sampling.stop()
    assert len(second.utilisation) >= 3
    assert max(s.time_s for s in first.power) <= paused_s
    assert min(s.time_s for s in second.power) >= resumed_s
    assert min(s.time_s for s in second.utilisation) >= resumed_s
    # Two domains of the fake meter, one sample more at the end than of utilisation.
    assert len(second.power) == 2 * (len(second.utilisation) + 1)
    assert 0.15 < second.duration_s < 5


def test_a_paused_one_uses_no_cpu(sampling: Sampler) -> None:
    sampling.pause()
    before_s = threads_cpu_s(sampling.pid)
    time.sleep(0.3)
    assert threads_cpu_s(sampling.pid) - before_s < 0.005


def test_it_pauses_again_and_again(sampling: Sampler) -> None:
    sampling.pause()
    for _ in range(3):
        sampling.resume()
        time.sleep(0.05)
        assert sampling.pause().utilisation
    assert sampling.stop() == Samples()


def test_stopped_while_it_is_paused_it_has_seen_nothing_more(sampling: Sampler) -> None:
    sampling.pause()
    assert sampling.stop() == Samples()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_that_was_killed_makes_the_trial_invalid(sampling: Sampler, number: signal.Signals) -> None:
    sampling.pause()
    os.kill(sampling.pid, number)
    with pytest.raises(ProcessEndedError, match=rf"ended early \({number.name}\)") as caught:
        for _ in range(2):  # the first word may still go into the pipe
            sampling.resume()
            sampling.pause()
    assert caught.value.outcome[0] is Status.INVALID


def test_a_stuck_one_is_not_waited_for(sampling: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "STOP_TIMEOUT_S", 0.2)
    os.kill(sampling.pid, signal.SIGSTOP)
    with pytest.raises(ProcessEndedError, match=r"did not answer within 0\.2 s"):
        sampling.pause()
