"""Break servewatt on purpose and count what it loses: kills, runs side by side, hostile inputs, engines that misbehave.

    python tools/reliability.py                          # everything, half an hour on two CPUs
    python tools/reliability.py kills --count 20
    python tools/reliability.py engines answers inputs

Prints the table of docs/explanation/reliability.md, a row a kind, and what went wrong in each case that did. Exits with
1 if anything did. Everything happens in a temporary folder, with the fake engine; nothing is downloaded or kept. It
wants servewatt importable (installed, or PYTHONPATH=src) and, for `inputs`, the repository's tests beside it.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from servewatt.engines.fake.answers import FACTS, PEAKS, STEPS
from servewatt.engines.fake.failures import GENERATING
from servewatt.experiment.planning import make_plan
from servewatt.experiment.study_file import validate
from servewatt.harness.environment import describe
from servewatt.harness.runner import measure
from servewatt.harness.schedule import Progress
from servewatt.models.cache import ArtefactCache
from servewatt.records import Run, Status, Trial
from servewatt.store import StoreReader

STUDY = """
model: {name: bundled}
workload: {prompts: "bundled:2", new_tokens: 8}
configurations:
  named: [fake/fp32, fake/bf16, fake/int8]
procedure:
  {blocks: 4, settle_s: 0, idle_s: 0.05, window_s: 0.1, warmup_s: 0, foreign_limit: 1.0, sample_interval_s: 0.1}
"""
BLOCKS, CONFIGURATIONS = 4, 3
MARK = "SERVEWATT_RELIABILITY"
"""Environment variable that marks every process descended from ours, whatever session or parent it moved to."""
PATIENCE_S = 3.0
"""Time that the descendants of a killed process have to end."""
LIMIT_S = 180.0
"""No command here takes longer; one that does is stuck."""
LONGEST_REASON = 5000
"""Characters of a reason with its hint."""
MOST_GROWTH_BYTES = 300 * 2**20
"""Memory that one trial may leave the parent with."""
HARMLESS = frozenset({"children", "die-at-exit", "never-end", "stop-guardian"})
"""Failures after which a trial may still count: what was measured is whole."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    kind: str
    tried: int
    faults: tuple[str, ...]
    """What went wrong, a sentence each."""
    note: str = ""


class Place:
    """A folder with a home and a store of its own, and the processes that were started for it."""

    def __init__(self, root: Path, name: str) -> None:
        self.folder = root / name
        self.folder.mkdir()
        self.study = self.folder / "study.yaml"
        self.study.write_text(STUDY)
        self.token = f"{os.getpid()}-{name}"
        self.store = self.folder / "data" / "servewatt" / "results.db"

    def start(self, *arguments: str, log: str = "log") -> subprocess.Popen[bytes]:
        """`servewatt ARGUMENTS`, with its output in the file `log`."""
        variables = os.environ | {
            MARK: self.token,
            "HOME": str(self.folder),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "servewatt.cli.main", *arguments],
                env=variables,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def run(self) -> subprocess.Popen[bytes]:
        """The study's run."""
        return self.start("run", str(self.study), "--json")

    def finished(self) -> Counter[tuple[int, str]]:
        """How often each trial of each block is stored as measured."""
        if not self.store.exists():
            return Counter()
        with StoreReader.open(self.store) as store:
            runs = [line.id for line in store.runs()]
            results = [result for run in runs for result in store.results(run)]
        return Counter((r.trial.block, r.trial.configuration.key) for r in results if r.status is Status.OK)

    def said(self) -> str:
        """The last error that a command printed, or else its last line."""
        lines = (self.folder / "log").read_text(errors="replace").strip().splitlines()
        errors = [line for line in lines if line.startswith("error:")]
        return (errors or lines or [""])[-1][:200]


def alive(token: str) -> list[psutil.Process]:
    """Processes that carry the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def orphans(token: str) -> list[str]:
    """Commands of marked processes that outlive their patience; they are killed then."""
    deadline_s = time.monotonic() + PATIENCE_S
    while (left := alive(token)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    names = []
    for process in left:
        try:
            names.append(" ".join(process.cmdline())[:120])
            process.kill()
        except psutil.Error:
            continue
    return names


def expected() -> Counter[tuple[int, str]]:
    """Every trial of the study once."""
    keys = [f"fake/cpu/{precision}/b1" for precision in ("fp32", "bf16", "int8")]
    return Counter({(block, key): 1 for block in range(BLOCKS) for key in keys})


def differences(before: Counter[tuple[int, str]], after: Counter[tuple[int, str]]) -> list[str]:
    """Trials that were lost or doubled between two looks at a store."""
    lost = [f"lost {trial}" for trial in before - after]
    return lost + [f"doubled {trial}" for trial, times in after.items() if times > 1]


def kills(root: Path, count: int, noise: random.Random) -> Row:
    """SIGKILL the measuring process at random moments, and let the same command go on each time."""
    faults: list[str] = []
    killed = stores = 0
    place = Place(root, "kills-0")
    while killed < count:
        before = place.finished()
        process = place.run()
        try:
            code = process.wait(noise.uniform(0.2, 9.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
            faults += [f"kill {killed}: still running: {name}" for name in orphans(place.token)]
            faults += [f"kill {killed}: {what}" for what in differences(before, place.finished())]
            continue
        if code != 0:
            faults.append(f"after kill {killed}: exit code {code}: {place.said()}")
        if place.finished() != expected():
            faults.append(f"after kill {killed}: {sum(place.finished().values())} of {expected().total()} trials")
        stores += 1
        place = Place(root, f"kills-{stores}")
    return Row("parent killed (SIGKILL) at a random moment", killed, tuple(faults), f"{stores} runs completed")


def concurrent(root: Path, count: int, noise: random.Random) -> Row:
    """Two runs of one plan at a time, the second a little later."""
    faults = []
    for index in range(count):
        place = Place(root, f"concurrent-{index}")
        first = place.run()
        time.sleep(noise.uniform(0.0, 3.0))
        second = place.run()
        for name, process in (("first", first), ("second", second)):
            try:
                code = process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = -signal.SIGKILL
            if code != 0:
                faults.append(f"pair {index}: the {name} ended with {code}: {place.said()}")
        if place.finished() != expected():
            faults.append(f"pair {index}: {differences(expected(), place.finished())}")
    return Row("two runs of one plan at a time", count, tuple(faults))


def a_trial(failure: str) -> Trial:
    """A short trial of the fake engine that goes wrong by `failure`."""
    content = {
        "workload": {"prompts": "bundled:2", "new_tokens": 8},
        "configurations": {"named": [f"fake/fail={failure}"]},
        "procedure": {
            **{"blocks": 1, "settle_s": 0.0, "idle_s": 0.05, "window_s": 0.1, "warmup_s": 0.0, "foreign_limit": 1.0},
            **{"timeout_s": 8.0, "sample_interval_s": 0.1},
        },
    }
    with ArtefactCache() as cache:
        plan, _ = make_plan(validate(content, "a trial"), cache, has_gpu=False)
    run = Run("reliability", "2026-01-01T00:00:00+00:00", plan, describe((), None), "reliability")
    (trial,) = Progress(run, []).missing(0)
    return trial


def misbehaving(failures: Sequence[str], kind: str, *, may_succeed: Collection[str] = ()) -> Row:
    """Each failure in a trial of its own: it must end, soon, with a status other than ok, a reason, and no orphan."""
    faults = []
    os.environ[MARK] = token = f"{os.getpid()}-engines"
    own = psutil.Process()
    environment = describe((), None)
    statuses: Counter[str] = Counter()
    for failure in failures:
        begin_s, before_bytes = time.monotonic(), own.memory_info().rss
        result = measure(a_trial(failure), environment)
        took_s, grown_bytes = time.monotonic() - begin_s, own.memory_info().rss - before_bytes
        statuses[result.status.value] += 1
        if result.status is Status.OK and failure not in may_succeed:
            faults.append(f"{failure}: counts as ok")
        if result.status is not Status.OK and not result.reason.strip():
            faults.append(f"{failure}: {result.status.value} without a reason")
        if len(result.reason) + len(result.hint) > LONGEST_REASON:
            faults.append(f"{failure}: a reason of {len(result.reason)} characters")
        if took_s > LIMIT_S or grown_bytes > MOST_GROWTH_BYTES:
            faults.append(f"{failure}: {took_s:.0f} s, {grown_bytes / 2**20:.0f} MiB more memory")
        mine = [process for process in alive(token) if process.pid != own.pid]
        faults += [f"{failure}: still running: {process.cmdline()[:4]}" for process in mine]
    del os.environ[MARK]
    told = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in statuses.most_common())
    return Row(kind, len(failures), tuple(faults), told)


def engines(_root: Path, count: int, noise: random.Random) -> Row:
    """Engines that crash, hang, flood, exit, raise or leave children behind."""
    failures = sorted(GENERATING)
    chosen = failures if count >= len(failures) else noise.sample(failures, count)
    return misbehaving(chosen, "engine dies, hangs, floods or leaves children", may_succeed=HARMLESS)


def answers(_root: Path, count: int, noise: random.Random) -> Row:
    """Engines that answer, wrongly."""
    failures = sorted({*STEPS, *FACTS, *PEAKS} - {"tokens-after-stop"})  # nothing stops generations of fixed length
    chosen = failures if count >= len(failures) else noise.sample(failures, count)
    return misbehaving(chosen, "engine answers wrongly")


def inputs(root: Path, count: int, _noise: random.Random) -> Row:
    """Commands with values, files and places that nobody should give them; see tools/hostile.py."""
    places = {"HOME": root, "XDG_DATA_HOME": root / "data", "XDG_CACHE_HOME": root / "cache"}
    ended = subprocess.run(
        [sys.executable, "-m", "tools.hostile", "--examples", str(count)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {name: str(place) for name, place in places.items()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = (ended.stdout + ended.stderr).strip().splitlines()
    faults = tuple(said[-20:]) if ended.returncode else ()
    return Row("hostile inputs to every command and option", count, faults)


PARTS: dict[str, tuple[Callable[[Path, int, random.Random], Row], int]] = {
    "kills": (kills, 200),
    "concurrent": (concurrent, 12),
    "engines": (engines, 1000),
    "answers": (answers, 1000),
    "inputs": (inputs, 2000),
}
"""Part -> (what runs it, how often unless told otherwise)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for and print their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"of {', '.join(PARTS)} [all]")
    parser.add_argument("--count", type=int, help="tries of each part")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    root = Path(tempfile.mkdtemp(prefix="servewatt-reliability-"))
    rows = []
    try:
        for name in asked.parts or PARTS:
            part, usual = PARTS[name]
            begin_s = time.monotonic()
            rows.append(part(root, asked.count or usual, random.Random(asked.seed)))
            print(f"{name}: {time.monotonic() - begin_s:.0f} s", file=sys.stderr)
            for fault in rows[-1].faults:
                print(f"  {fault}", file=sys.stderr)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print("| what was done | times | went wrong | |")
    print("|---|---|---|---|")
    for row in rows:
        print(f"| {row.kind} | {row.tried} | {len(row.faults)} | {row.note} |")
    return 1 if any(row.faults for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
