"""How long commands that need no engine take to answer, beside Python's own start.

    python benchmarks/startup.py
    python benchmarks/startup.py --run latest

Each command runs several times in turn; the median counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

COMMANDS = [["--help"], ["run", "--help"], ["engines"], ["models"], ["report", "--list"]]


def once_s(command: list[str]) -> float:
    """Seconds of one call."""
    begin_s = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - begin_s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--run", default=None, help="a run (or exported file) for report and recommend")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    commands = [*COMMANDS]
    if arguments.run:
        commands += [["report", arguments.run], ["recommend", arguments.run]]
    calls = {"python -c pass": [sys.executable, "-c", "pass"]}
    calls |= {"servewatt " + " ".join(c): [sys.executable, "-m", "servewatt.cli.main", *c] for c in commands}
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.rounds):
        for name, call in calls.items():
            times_s[name].append(once_s(call))
    medians_s = {name: statistics.median(values) for name, values in times_s.items()}
    if arguments.json:
        print(json.dumps(medians_s, indent=2))
        return
    for name, median_s in medians_s.items():
        print(f"{median_s:6.3f} s  {name}")


if __name__ == "__main__":
    main()
