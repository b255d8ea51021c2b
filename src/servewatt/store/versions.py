"""Versions of the tables and of stored records, and the form in which results are kept."""

from __future__ import annotations

from dataclasses import replace

from servewatt.errors import StoreError
from servewatt.records import RECORD_VERSION, Plan, Result

SCHEMA_VERSION = 1
"""Version of the store's tables; `migrations` brings older databases to it."""


def check_record_version(version: int, where: str) -> None:
    """Refuse records newer than this program; older ones are read (docs/format.md has the rule)."""
    if version > RECORD_VERSION:
        raise StoreError(
            f"{where} holds records of version {version}; this servewatt reads up to version {RECORD_VERSION}",
            "upgrade it: pip install --upgrade servewatt",
        )


def slim(result: Result, plan: Plan) -> Result:
    """The result as kept: without its workload's prompts where they are the plan's, which every trial repeats."""
    trial = result.trial
    if trial.workload != plan.workload:
        return result
    return replace(result, trial=replace(trial, workload=replace(trial.workload, prompts=())))


def fill(result: Result, plan: Plan) -> Result:
    """What `slim` took away, back again."""
    if result.trial.workload.prompts:
        return result
    return replace(result, trial=replace(result.trial, workload=plan.workload))
