from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from servewatt import engines
from servewatt.engines import Session
from servewatt.errors import InputError, RefusedError
from servewatt.harness.runner import prepare, run_trials
from servewatt.harness.section import own_cpu_s
from servewatt.harness.through_http import HttpSession, Server
from servewatt.records import Configuration, Result, Status, Via
from tests.engines.tiny import FolderArtefacts, model_of
from tests.harness.builders import QUICK, fake, model, run

BUNDLED = Path(engines.__file__).parents[1] / "models" / "bundled"


def served(**options: object) -> Configuration:
    return replace(fake(**options), via=Via.HTTP)


def one(folder: Path, timeout_s: float = 60.0, **options: object) -> Result:
    procedure = replace(QUICK, blocks=1, timeout_s=timeout_s)
    (result,) = run_trials(run(folder, [served(**options)], procedure), [])
    return result


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(pid: int) -> bool:
    """Whether the process is gone within ten seconds."""
    deadline_s = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return not alive(pid)


def servers(home: Path) -> set[int]:
    """Live server processes of the test with these folders, by their environment: orphans have lost their parents."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if b"servewatt.serve.server" in words and bytes(home) in (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue
    return {pid for pid in found if alive(pid)}


def test_a_trial_through_http_measures_what_a_trial_in_process_does(tmp_path: Path) -> None:
    result = one(tmp_path, step_ms=2)
    assert result.status is Status.OK, result.reason + result.log
    assert result.trial.configuration.key == "fake/cpu/fp32/b1/step_ms=2/http"
    assert [s.name for s in result.sections] == ["load", "idle", "prefill", "generate"]
    assert result.outputs == ((3, 4, 5, 6, 7), (3, 4, 5, 6, 7), (15, 16, 17, 18, 19))
    generate = result.section("generate")
    assert generate is not None
    assert generate.tokens_out == 15 * generate.passes
    for generation in result.generations:
        assert generation.ttft_s >= 0.002
        assert len(generation.inter_token_s) == 4
        assert min(generation.inter_token_s) >= 0.002
    assert result.facts is not None
    assert dict(result.facts.libraries).keys() == {"starlette", "uvicorn"}


def test_the_latencies_of_a_pass_fill_it(tmp_path: Path) -> None:
    """TTFT and the intervals after it are all the time from sending to having read the answer."""
    result = one(tmp_path, step_ms=1)
    for first, second in zip(result.generations, result.generations[1:], strict=False):
        latency_s = first.ttft_s + sum(first.inter_token_s)
        between_s = second.start_s - first.start_s - latency_s
        assert 0 <= between_s < 0.5 * latency_s


def test_the_engine_s_seconds_are_within_the_client_s(tmp_path: Path) -> None:
    result = one(tmp_path, step_ms=2)
    for generation in result.generations:
        assert generation.engine_s is not None
        # Five steps of 2 ms each.
        assert 0.01 <= generation.engine_s < generation.ttft_s + sum(generation.inter_token_s)


def test_what_the_server_uses_is_the_trial_s_own(tmp_path: Path) -> None:
    result = one(tmp_path)
    load = result.section("load")
    assert load is not None
    # An interpreter that imports pydantic and starlette takes more CPU time than a client that waits for it.
    assert load.own_cpu_s > 0.1
    assert load.foreign_cpu_s is not None
    assert result.peak_rss_bytes is not None
    assert result.peak_rss_bytes > 20e6
    sampled = [u.rss_bytes for u in result.utilisation if u.rss_bytes is not None]
    assert max(sampled) > result.peak_rss_bytes


def test_cpu_time_of_named_processes_is_added() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        first = own_cpu_s([other.pid])
        alone = own_cpu_s([])
        deadline_s = time.monotonic() + 20
        while own_cpu_s([other.pid]) - first <= 0.1 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        used, used_alone = own_cpu_s([other.pid]) - first, own_cpu_s([]) - alone
        other.kill()
    assert used_alone < 0.1
    assert used > 0.1


def test_preparation_works_through_http(tmp_path: Path) -> None:
    configuration = served(step_ms=3)
    result = prepare(run(tmp_path, [configuration]), configuration)
    assert result.status is Status.OK, result.reason + result.log
    assert [s.name for s in result.sections] == ["load"]
    (generation,) = result.generations
    assert min(generation.inter_token_s) >= 0.003


@pytest.mark.parametrize(
    ("failure", "status", "words"),
    [
        ("load", Status.REFUSED, "the fake engine was asked to refuse"),
        ("generate", Status.FAILED, "RuntimeError: the fake engine was asked to fail"),
        ("segv", Status.CRASHED, "the server was killed by SIGSEGV"),
        ("kill", Status.CRASHED, "the server was killed by SIGKILL"),
        ("exit", Status.FAILED, "the server left with exit code 7"),
        ("memory", Status.OUT_OF_MEMORY, "MemoryError: the fake engine was asked to run out of memory"),
        ("claim", Status.REFUSED, "not what is claimed"),
    ],
)
def test_a_dying_engine_is_a_result_with_its_own_reason(
    tmp_path: Path, own_folders: Path, failure: str, status: Status, words: str
) -> None:
    result = one(tmp_path, fail=failure)
    assert (result.status, words in result.reason) == (status, True), result.reason
    assert result.hint
    assert all(ends(pid) for pid in servers(own_folders))


def test_an_engine_s_traceback_is_in_the_log(tmp_path: Path) -> None:
    assert "in _misbehave" in one(tmp_path, fail="generate").log


def test_a_server_that_dies_is_noticed_although_its_child_holds_its_connections(tmp_path: Path) -> None:
    begin_s = time.monotonic()
    result = one(tmp_path, fail="fork-and-die")
    assert (result.status, result.reason) == (Status.CRASHED, "the server was killed by SIGKILL")
    assert time.monotonic() - begin_s < 30


def test_a_hanging_server_is_timed_out_and_gone(tmp_path: Path, own_folders: Path) -> None:
    assert one(tmp_path, timeout_s=4.0, fail="hang").status is Status.TIMED_OUT
    assert all(ends(pid) for pid in servers(own_folders))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_dies_with_its_parent(number: signal.Signals) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from servewatt.harness.through_http import Server\nfrom tests.harness.builders import fake, model\n"
        "print(Server(model(Path('nowhere')), fake()).pid, flush=True)\ntime.sleep(60)\n"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(number)
    assert ends(pid)


def test_closing_a_session_ends_its_server_and_tells_its_memory(own_folders: Path) -> None:
    session = HttpSession(Server(model(Path("nowhere")), served()))
    assert [step.tokens for step in session.generate([[1, 2]], 2)] == [(3,), (4,)]
    assert session.peak_rss_bytes is None
    assert servers(own_folders) == {session.pid}
    session.close()
    assert not servers(own_folders)
    assert session.peak_rss_bytes is not None


def test_a_session_outlives_a_pause_and_a_refused_request() -> None:
    session = HttpSession(Server(model(Path("nowhere")), served()))
    try:
        with pytest.raises(InputError, match="outside the model's vocabulary"):
            list(session.generate([[5000]], 2))
        time.sleep(6)  # longer than uvicorn's own limit for a resting connection
        assert len(list(session.generate([[1]], 2))) == 2
    finally:
        session.close()


def test_errors_of_loading_keep_their_kind_and_hint() -> None:
    with pytest.raises(RefusedError, match="asked to refuse") as caught:
        Server(model(Path("nowhere")), served(fail="load"))
    assert caught.value.hint == "leave out fail=load"
    with pytest.raises(InputError, match="no option 'speed'"):
        Server(model(Path("nowhere")), served(speed=1))


@pytest.mark.engine
def test_a_real_engine_gives_the_same_tokens_through_http_as_in_process(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    bundled, configuration = model_of(BUNDLED), Configuration("torch", batch=2)
    prompts = [[5, 6, 7, 8], [9, 10]]

    def tokens(session: Session) -> list[tuple[int | None, ...]]:
        return [step.tokens for step in session.generate(prompts, 16)]

    session = engines.create("torch").load(bundled, configuration, FolderArtefacts(tmp_path))
    expected = tokens(session)
    session.close()
    through = HttpSession(Server(bundled, replace(configuration, via=Via.HTTP)))
    try:
        assert tokens(through) == expected
        facts = through.facts()
        assert (facts.compute_dtype, facts.kv_cache) == ("fp32", True)
        assert {"torch", "starlette"} <= dict(facts.libraries).keys()
    finally:
        through.close()
