"""Records of a trial's outcome: energy by section, times by token, facts, status."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from servewatt.records.plan import Trial
from servewatt.records.readings import PowerSample, UtilisationSample
from servewatt.records.timing import Timing, timing
from servewatt.records.vocabulary import Component, Grade, Status


@dataclass(frozen=True)
class DomainEnergy:
    """Energy of one domain over one section of a trial."""

    domain: str
    component: Component
    energy_j: float
    error_j: float
    """Bound of the error that the counter's quantum causes."""
    grade: Grade
    counted: bool
    """False where another listed domain contains this one."""


@dataclass(frozen=True)
class Section:
    """A stretch of a trial between two meter readings: `load`, `idle`, `prefill` or `generate`."""

    name: str
    start_s: float
    duration_s: float
    energy: tuple[DomainEnergy, ...] = ()
    own_cpu_s: float = 0.0
    """CPU time of the measured process and its children."""
    foreign_cpu_s: float | None = None
    """CPU time of everything else on the machine; None where it cannot be read."""
    stolen_cpu_s: float | None = None
    """CPU time the hypervisor gave to others."""
    passes: int = 0
    """Whole passes over the workload's prompts."""
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True)
class Generation:
    """One batch generated inside the `generate` section."""

    first_prompt: int
    """Index of the batch's first prompt in the workload."""
    rows: int
    start_s: float
    ttft_s: float
    """Time to first token: prefill, plus picking the first token."""
    inter_token_s: tuple[float, ...]
    """Time from each token to the next, for the whole batch at once."""
    tokens_out: int
    """Tokens of all rows."""
    engine_s: float | None = None
    """Through HTTP: seconds that the engine worked on it, by the server; None in process, and in older results."""


@dataclass(frozen=True)
class Slice:
    """A short stretch of generating in a duet episode, in which the processes of several configurations take turns."""

    round: int
    """From 0; in each round every configuration has one slice. -1 for the slice that a process takes on joining."""
    position: int
    """Place within the round, from 0."""
    start_s: float
    work_s: float
    """Until the last batch was finished and the device idle."""
    tail_s: float
    """From there to the step of the counter that closed the slice; 0 for counters that are fine enough."""
    energy: tuple[DomainEnergy, ...] = ()
    """Over work and tail."""
    own_cpu_s: float = 0.0
    foreign_cpu_s: float | None = None
    """CPU time of everything else on the machine, the other processes of the episode included."""
    stolen_cpu_s: float | None = None
    blocked_cpu_s: float | None = None
    """CPU time of the episode's other processes, which should be blocked meanwhile."""
    blocked_by: str = ""
    """Key of the configuration whose process used most of it."""
    residents: int = 1
    """Processes of the episode that were loaded, this one included."""
    batches: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    first_third_s: float | None = None
    """Mean time from one token to the next in the slice's first third, and in its last: a cold start shows here."""
    last_third_s: float | None = None
    attempt: int = 0
    """From 0; a slice with a fault is repeated."""
    fault: str = ""
    """Why it counts for nothing; empty for a valid one."""
    generations: tuple[Generation, ...] = ()
    """Empty once the trial's result has them."""
    twin: bool = False
    """Whether the configuration's second process measured it."""


@dataclass(frozen=True)
class Facts:
    """What really runs, as the loaded engine shows it; never what was asked for."""

    engine_version: str
    libraries: tuple[tuple[str, str], ...] = ()
    devices: tuple[tuple[str, int], ...] = ()
    """(device, number of operators or weights placed there), such as (("cpu", 148),)."""
    weight_dtypes: tuple[tuple[str, int], ...] = ()
    """(dtype, bytes) of the weights as held in memory."""
    lookup_dtypes: tuple[tuple[str, int], ...] = ()
    """(dtype, bytes) of those weights that are only looked up in, such as token embeddings: a token reads one row of
    them. Empty where the engine holds them like the others, and in older results."""
    compute_dtype: str = ""
    """Type in which matrix products are computed, such as `fp32`."""
    kv_cache: bool | None = False
    """Whether decoding feeds one token a step and reuses keys and values; None where the engine does not show it and
    a trial cannot tell, as a step that computed everything again would take no longer."""
    kv_cache_dtype: str = ""
    threads: int | None = None
    group: int | None = None
    """Quantised weights that share a scale; None where none do, and in older results (see `weights_per_scale`)."""
    options: tuple[tuple[str, str], ...] = ()
    """Options of configurations as the loaded engine shows them, such as (("attention", "flash"),); absent are those
    that it does not show, or not yet."""
    cuda_graphs: str | None = None
    """How steps are recorded in CUDA graphs, `none` for not at all; None where the engine does not show it."""
    prefix_caching: bool = False
    """Whether prompts seen before are looked up, not computed."""
    tf32: tuple[str, ...] = ()
    """Settings found on that let fp32 matrices be multiplied in TF32, such as ("matmul_tf32",)."""
    detail: tuple[tuple[str, str], ...] = ()
    """What else the engine shows, for display only."""

    @property
    def weights_per_scale(self) -> int | None:
        """`group`; in results of versions without that field, what `detail` tells of it."""
        told = dict(self.detail).get("group", "") if self.group is None else str(self.group)
        return int(told) if told.isdecimal() and int(told) > 0 else None


@dataclass(frozen=True)
class Result:
    """One trial's outcome, whatever it was."""

    trial: Trial
    status: Status
    reason: str = ""
    hint: str = ""
    started_at: str = ""
    """UTC, ISO 8601."""
    facts: Facts | None = None
    sections: tuple[Section, ...] = ()
    generations: tuple[Generation, ...] = ()
    outputs: tuple[tuple[int, ...], ...] = ()
    """New token ids of each prompt, in the workload's order, from the first measured pass."""
    repeated_rows: int = 0
    """Rows of each pass that repeat prompts, so that its last batch is as large as the others."""
    power: tuple[PowerSample, ...] = ()
    utilisation: tuple[UtilisationSample, ...] = ()
    peak_rss_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    """Most GPU memory that the trial added to what was in use before, the context included."""
    sampler_cpu_s: float | None = None
    parent_cpu_s: float | None = None
    """CPU time of the waiting parent while the worker ran."""
    log: str = ""
    """The end of what the worker wrote to standard output and error."""
    transient: bool = False
    """Whether what kept it from succeeding may pass, such as a full disk: a new start of the command tries again."""
    slices: tuple[Slice, ...] = ()
    """Of a trial in a duet episode: the section `generate` is the sum of its valid slices, and not one stretch."""
    twin_slices: tuple[Slice, ...] = ()
    """Those of a second process of the same configuration, to show what the bench makes of no difference at all."""
    timing: Timing | None = None
    """What `generations` say, where they have been left out to read many trials fast; see `times`."""

    @property
    def output_digest(self) -> str:
        """SHA-256 of the output ids; equal digests are equal outputs."""
        text = ";".join(" ".join(map(str, row)) for row in self.outputs)
        return hashlib.sha256(text.encode()).hexdigest() if self.outputs else ""

    @property
    def timed(self) -> Result:
        """The same with `timing`, so that its figures are computed once."""
        return self if self.timing is not None else replace(self, timing=self.times)

    @property
    def brief(self) -> Result:
        """The same with `timing` in place of the generations, and without outputs and samples."""
        return replace(self.timed, generations=(), outputs=(), power=(), utilisation=())

    @property
    def times(self) -> Timing:
        """The times of all generations in figures."""
        return self.timing or timing(self.generations, self.trial.workload.prompts)

    def section(self, name: str) -> Section | None:
        """The section called `name`, or None if the trial did not get there."""
        for section in self.sections:
            if section.name == name:
                return section
        return None
