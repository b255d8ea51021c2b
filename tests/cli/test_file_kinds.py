"""A file of results given to a command that reads the other kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from servewatt.cli.main import run

ROOT = Path(__file__).parents[2]
EXPORT = str(ROOT / "examples" / "h200-bundled.json.gz")
RESULTS = str(ROOT / "results" / "h200-pythia-410m.parquet")


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (["report", RESULTS], "a study's results file, not a run's export", f"servewatt study tables {RESULTS}"),
        (["recommend", RESULTS], "a study's results file, not a run's export", f"servewatt study tables {RESULTS}"),
        (["run", RESULTS], "a study's results file, not a study file", f"servewatt study tables {RESULTS}"),
        (["run", EXPORT], "a run's export, not a study file", f"servewatt report {EXPORT}"),
        (["study", "tables", EXPORT], "a run's export, not a study's results file", f"servewatt report {EXPORT}"),
        (["study", "analyse", EXPORT], "a run's export, not a study's results file", f"servewatt report {EXPORT}"),
        (["study", "compare", EXPORT], "a run's export, not a study's results file", f"servewatt report {EXPORT}"),
        (["study", "collect", "--out", "no.parquet", RESULTS], "a study's results file", f"--add {RESULTS}"),
    ],
)
def test_a_file_of_the_other_kind_is_named_with_the_command_that_reads_it(
    arguments: list[str], what: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"error: {arguments[-1]} is {what}" or told[0].startswith(f"error: {arguments[-1]} is {what},")
    assert told[1].startswith("hint: ") and hint in told[1]
