"""Two runs at a time: the second waits, says so, and goes on with what is missing."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from servewatt.errors import StoreError
from servewatt.experiment.events import Level, Note, Observer
from servewatt.harness.turn import machine_turn
from servewatt.records import Plan, Procedure
from servewatt.store import Store
from servewatt.store.claims import Claim, Held, this_process
from servewatt.store.complaints import LostClaimError

LEASE_MARGIN_S = 600.0
"""Beyond the longest trial, for what lies between two trials."""
LOOK_AGAIN_S = 2.0

Renew = Callable[[str], None]
"""Renews the claim before a trial of the run with this id."""


@contextmanager
def plan_claimed(observer: Observer, store: Store, plan: Plan, fingerprint: str) -> Iterator[Renew]:
    """Hold the claim on all trials of a plan on this kind of machine, waiting until whoever holds it ends.

    The claim outlasts a trial; where nobody can tell whether its claimant lives (another host), it lapses
    `LEASE_MARGIN_S` after the longest trial could have ended.
    """
    lease_s = plan.procedure.timeout_s + LEASE_MARGIN_S
    subject = f"{plan.digest} {fingerprint}"
    told = False
    while isinstance(claim := store.claim(subject, lease_s), Held):
        if not told:
            told = True
            observer.notice(Note(_waiting(claim.by), Level.NOTICE))
        _await(claim.by)

    def renew(run_id: str) -> None:
        try:
            store.renew(claim, lease_s, run_id)
        except LostClaimError:
            raise
        except StoreError:
            # A store that cannot be written is met, and told, when a result is to be kept.
            return

    try:
        yield renew
    finally:
        with suppress(StoreError):
            store.release(claim)


@contextmanager
def machine_held(observer: Observer, procedure: Procedure) -> Iterator[None]:
    """Keep other runs from measuring on this machine meanwhile, unless the procedure does not mind others."""
    if procedure.foreign_limit >= 1:
        yield
        return

    def waiting(pid: int) -> None:
        who = f"process {pid}" if pid else "another process"
        text = f"another servewatt is measuring on this machine ({who}); waiting until it ends"
        observer.notice(Note(text, Level.NOTICE))

    with machine_turn(waiting):
        yield


def _waiting(holder: Claim) -> str:
    run = f" as run {holder.run_id}" if holder.run_id else ""
    where = f"process {holder.claimant.pid} on {holder.claimant.host}"
    return f"another servewatt is measuring the same plan{run} ({where}); waiting until it ends"


def _await(holder: Claim) -> None:
    """Sleep until the claimant ends, or for a while: a claim may be given back before that."""
    claimant, own = holder.claimant, this_process()
    if (claimant.boot, claimant.namespace) == (own.boot, own.namespace):
        with suppress(OSError, AttributeError):
            descriptor = os.pidfd_open(claimant.pid)
            try:
                select.select([descriptor], [], [], LOOK_AGAIN_S)
            finally:
                os.close(descriptor)
            return
    time.sleep(LOOK_AGAIN_S)
