"""The command line that measures what a run measured."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from servewatt.records import Configuration, ModelSource, Plan, Procedure, Weights


def reproduce(plan: Plan) -> str:
    """A command that measures the same again, as far as the plan tells: prompts from a file go by their name."""
    model, work, procedure = plan.model, plan.workload, plan.procedure
    cs = plan.configurations
    name = model.folder if model.source is ModelSource.FOLDER else model.name
    words = ["servewatt run", "--model", shlex.quote(name)]
    if model.weights is Weights.RANDOM:
        words += ["--weights random"] + ([f"--weights-seed {model.seed}"] if model.seed else [])
    elif model.source is ModelSource.HUB:
        words += ["--revision", model.revision]
    words += ["--prompts", shlex.quote(work.name), "--new-tokens", str(work.new_tokens), "--stop", work.stop.value]
    if not work.name.startswith("bundled"):
        words += ["--limit", str(len(work.prompts))]
    words += _listed(cs) or ["--configuration", ",".join(c.key for c in cs)]
    if plan.race is None:
        words += [f"--blocks {procedure.blocks}"]
    else:
        words += [f"--budget {plan.race.budget_s:g}s --tie {plan.race.tie:g} --confidence {plan.race.confidence:g}"]
        words += [] if plan.race.twin is None else ["--twin" if plan.race.twin else "--no-twin"]
    words += [f"--seed {procedure.seed}"]
    words += [f"--window {procedure.window_s:g} --idle {procedure.idle_s:g} --boundary {procedure.boundary.value}"]
    return " ".join(words + _unusual(procedure))


def _unusual(procedure: Procedure) -> list[str]:
    """Options for what of the procedure is not as it is by default."""
    usual = Procedure()
    values = {
        "--warm-up": (procedure.warmup_s, usual.warmup_s),
        "--settle": (procedure.settle_s, usual.settle_s),
        "--timeout": (procedure.timeout_s, usual.timeout_s),
        "--foreign-limit": (procedure.foreign_limit, usual.foreign_limit),
        "--retries": (procedure.retries, usual.retries),
        "--sample-interval": (procedure.sample_interval_s, usual.sample_interval_s),
        "--slice": (procedure.slice_s, usual.slice_s),
    }
    words = [f"{option} {value:g}" for option, (value, default) in values.items() if value != default]
    words += [f"--meter {shlex.quote(meter)}" for meter in procedure.meters]
    if procedure.cpu_watts is not None:
        words.append("--cpu-watts {:g},{:g}".format(*procedure.cpu_watts))
    return words


def _listed(configurations: Sequence[Configuration]) -> list[str]:
    """Options whose product the configurations are; nothing if they are none, and have to be named one by one."""
    lists = {
        "--engine": [c.engine for c in configurations],
        "--provider": [c.provider.value for c in configurations],
        "--precision": [c.precision.value for c in configurations],
        "--batch": [str(c.batch) for c in configurations],
        "--via": [c.via.value for c in configurations],
    }
    values = [tuple(dict.fromkeys(found)) for found in lists.values()]
    rest = {(c.threads, c.options) for c in configurations}
    if len(rest) > 1 or math.prod(map(len, values)) != len(configurations):
        return []
    words = [word for name, found in zip(lists, values, strict=True) for word in (name, ",".join(found))]
    ((threads, options),) = rest
    words += [] if threads is None else ["--threads", str(threads)]
    return words + [f"--option {name}={value}" for name, value in options]
