"""Versions of the tables and of stored records, and the form in which results are kept."""

from __future__ import annotations

from dataclasses import replace

from servewatt.errors import StoreError
from servewatt.quality import QUALITY_VERSION
from servewatt.records import RECORD_VERSION, Plan, Result

SCHEMA_VERSION = 4
"""Version of the store's tables; `migrations` brings older databases to it."""


BRIEF_VERSION = 1
"""Version of what `briefs` hold: raised when `Result.brief` or `Timing` change, so that older ones are read no more."""


def check_record_version(version: int, where: str) -> None:
    """Refuse records newer than this program; older ones are read (docs/reference/records.md has the rule)."""
    _check(version, RECORD_VERSION, f"{where} holds records")


def check_quality_version(version: int, where: str) -> None:
    """The same for the record of quality."""
    _check(version, QUALITY_VERSION, f"{where} holds quality")


def _check(version: object, known: int, what: str) -> None:
    if not isinstance(version, int):
        raise StoreError(f"{what} of no known version ({version!r})", "restore it from a copy")
    if version > known:
        raise StoreError(
            f"{what} of version {version}; this servewatt reads up to version {known}",
            "upgrade it: pip install --upgrade servewatt",
        )


def slim(result: Result, plan: Plan) -> Result:
    """The result as kept: without its workload's prompts where they are the plan's, which every trial repeats."""
    trial = result.trial
    if trial.workload != plan.workload:
        return result
    return replace(result, trial=replace(trial, workload=replace(trial.workload, prompts=())))


def fill(result: Result, plan: Plan) -> Result:
    """Restores what `slim` removed."""
    if result.trial.workload.prompts:
        return result
    return replace(result, trial=replace(result.trial, workload=plan.workload))
