"""Whether others leave the machine alone: said before anything is measured, waited for, and given up on."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from servewatt.advice import Advice, Setting
from servewatt.errors import UnavailableError
from servewatt.experiment.events import Level, Note, Observer, step
from servewatt.harness.fitness import IdleLoad, idle_load
from servewatt.harness.judge import foreign_share
from servewatt.records import Environment, Procedure, Result, Status

WAIT_S = 30.0
"""How long others are waited for."""
_LOOK_S = 2.0
_LEAST_INVALID = 2


def tell_load(observer: Observer, procedure: Procedure) -> None:
    """Look at the machine for a second, and say who loads it, if that is more than trials may have."""
    load = _load_above(procedure, 1.0)
    if load is None:
        return
    limit = _percent(procedure.foreign_limit)
    advice = Advice(f"a trial with more than {limit} is invalid and repeated: ", _advice(load.busy_share))
    observer.notice(Note(_who(load), Level.WARNING, advice))


def await_quiet(observer: Observer, procedure: Procedure) -> None:
    """Wait until others use no more than trials may have, for at most `WAIT_S`."""
    begin_s = time.monotonic()
    if (load := _load_above(procedure, 1.0)) is None:
        return
    with step(observer, f"waiting up to {WAIT_S:.0f} s for others to leave the CPUs alone"):
        while load is not None and time.monotonic() - begin_s < WAIT_S:
            load = _load_above(procedure, _LOOK_S)
    if load is not None:
        text = f"{_who(load)}; measuring all the same, and stopping soon if trials come out invalid"
        observer.notice(Note(text, Level.NOTICE))


def check_worth(results: Sequence[Result], environment: Environment, configurations: int) -> None:
    """Give up where most of the first block's trials are invalid by others' load: repeating them takes long.

    `results` are those that this start has measured, and `configurations` how many its first block has. Raises
    UnavailableError.
    """
    first = [r for r in results if r.trial.block == results[0].trial.block]
    busy = [r for r in first if r.status is Status.INVALID and _above(r, environment)]
    if len(busy) < _LEAST_INVALID or 2 * len({r.trial.configuration for r in busy}) <= configurations:
        return
    most = max(foreign_share(r, environment) or 0.0 for r in busy)
    limit = _percent(busy[0].trial.procedure.foreign_limit)
    raise UnavailableError(
        f"other programs keep this machine too busy: {len(busy)} of the first {len(results)} trials are invalid"
        f" (others used up to {_percent(most)} of the CPUs, the limit is {limit})",
        Advice(_advice(most), "; then measure the same plan again"),
    )


def check_episode(results: Sequence[Result]) -> None:
    """Give up where most trials of an episode have too few valid slices. Raises UnavailableError."""
    invalid = [r for r in results if r.status is Status.INVALID and any(one.fault for one in r.slices)]
    if len(invalid) < _LEAST_INVALID or 2 * len(invalid) <= len(results):
        return
    raise UnavailableError(
        f"this machine is too busy: {len(invalid)} of {len(results)} trials are invalid ({invalid[0].reason})",
        Advice(_advice(invalid[0].trial.procedure.foreign_limit), "; then measure the same plan again"),
    )


def _load_above(procedure: Procedure, watch_s: float) -> IdleLoad | None:
    """Others' load if it is more than the procedure lets pass."""
    if procedure.foreign_limit >= 1:
        return None
    load = idle_load(watch_s)
    return load if load.busy_share > procedure.foreign_limit else None


def _above(result: Result, environment: Environment) -> bool:
    share = foreign_share(result, environment)
    return share is not None and share > result.trial.procedure.foreign_limit


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _who(load: IdleLoad) -> str:
    names = ", ".join(f"{name} {_percent(min(share, 1.0))}" for name, share in load.offenders)
    seen = names or "programs that cannot be seen from here"
    return f"others use {_percent(load.busy_share)} of this machine's CPUs: {seen}"


def _advice(share: float) -> Advice:
    """What to do about others that use so much."""
    passing = min(1.0, math.ceil(20 * (share + 0.1)) / 20)
    return Advice(
        "stop those programs or wait until they end, leave CPUs to them (",
        Setting.THREADS.to("N"),
        "), or let them pass with less certain results (",
        Setting.FOREIGN_LIMIT.to(f"{passing:g}"),
        ")",
    )
