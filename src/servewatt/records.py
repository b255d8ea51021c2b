"""The frozen records that cross boundaries between the stages of a run.

Every quantity carries its unit in its name. Times called `*_s` that mark a moment are seconds on the
system-wide monotonic clock (`time.monotonic`), so marks taken by different processes of one machine compare.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum

RECORD_VERSION = 1
"""Version of the records as stored; docs/format.md describes each."""


class Provider(StrEnum):
    """Execution provider: where the engine computes."""

    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """Type of the weights (and, for the floating types, of the arithmetic)."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"
    """Weights only; products are computed in a floating type."""
    INT4 = "int4"
    """Weights in 4-bit integers, scaled in groups; the option `activations` says what they are multiplied with."""
    W8A8 = "w8a8"
    """Weights in 8-bit integers, and activations rounded to such for the products."""


class Stop(StrEnum):
    """When a generation ends: after a fixed number of tokens, or at an end-of-sequence token."""

    LENGTH = "length"
    EOS = "eos"


class Via(StrEnum):
    """How prompts reach the engine: in the measured process, or as HTTP requests to a server with the same engine."""

    PROCESS = "process"
    HTTP = "http"


class ModelSource(StrEnum):
    """Where a model's files come from."""

    BUNDLED = "bundled"
    FOLDER = "folder"
    HUB = "hub"
    RANDOM = "random"


class Weights(StrEnum):
    """Whether weights were learned; random ones time and draw power alike but answer nothing."""

    TRAINED = "trained"
    RANDOM = "random"


class Component(StrEnum):
    """The part of the machine a metered domain covers."""

    CPU = "cpu"
    DRAM = "dram"
    GPU = "gpu"
    MACHINE = "machine"


class Grade(StrEnum):
    """How a joule was obtained, best first."""

    COUNTER = "counter"
    INTEGRATED = "integrated"
    ESTIMATED = "estimated"
    MISSING = "missing"


class Boundary(StrEnum):
    """Which metered domains count towards a configuration's energy."""

    MACHINE = "machine"
    CPU = "cpu"
    GPU = "gpu"


class Status(StrEnum):
    """How a trial ended. Only `OK` trials enter statistics; the others are kept and shown."""

    OK = "ok"
    INVALID = "invalid"
    """Measured, but something else used the machine, or the result is beyond what the hardware can do."""
    REFUSED = "refused"
    """What ran is not what the configuration claims, or the engine cannot run it."""
    FAILED = "failed"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"


# --- what is asked for -------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Configuration:
    """A serving configuration: engine x execution provider x precision x batch (and threads, options, via)."""

    engine: str
    provider: Provider = Provider.CPU
    precision: Precision = Precision.FP32
    batch: int = 1
    threads: int | None = None
    """CPU threads; None means every CPU this process may use."""
    options: tuple[tuple[str, str], ...] = ()
    via: Via = Via.PROCESS

    @property
    def key(self) -> str:
        """A short unique name, such as `torch/cpu/fp32/b1`."""
        parts = [self.engine, self.provider.value, self.precision.value, f"b{self.batch}"]
        if self.threads is not None:
            parts.append(f"t{self.threads}")
        parts += [f"{name}={value}" for name, value in self.options]
        if self.via is not Via.PROCESS:
            parts.append(self.via.value)
        return "/".join(parts)


@dataclass(frozen=True)
class Shape:
    """The matrices and the KV cache of a decoder, counted from config.json: what a token has to read and compute."""

    layers: int
    hidden_size: int
    query_heads: int
    key_value_heads: int
    head_size: int
    feed_forward_size: int
    feed_forward_matrices: int
    """Of each layer: 2, or 3 where one of them gates."""
    vocabulary_size: int
    window: int | None = None
    """Most tokens that attention looks back on; None for all."""


@dataclass(frozen=True)
class Model:
    """A resolved model: a local folder whose content is pinned by `revision`."""

    name: str
    source: ModelSource
    folder: str
    """Absolute path of a folder with config.json, *.safetensors and, unless weights are random, tokenizer.json."""
    revision: str
    """Hub commit, or a SHA-256 digest of configuration and weights."""
    architecture: str
    """The `architectures` entry of config.json, such as LlamaForCausalLM."""
    weights: Weights
    parameters: int
    weight_bytes: int
    """Bytes of the stored weights (tied weights counted once)."""
    vocabulary_size: int
    context_length: int
    eos_ids: tuple[int, ...] = ()
    seed: int | None = None
    """Seed of random weights; None for trained ones."""
    shape: Shape | None = None
    """None in runs of versions that did not record it."""


@dataclass(frozen=True)
class Workload:
    """The work of one pass: token ids in, and how many out."""

    name: str
    prompts: tuple[tuple[int, ...], ...]
    new_tokens: int
    stop: Stop = Stop.LENGTH

    @property
    def digest(self) -> str:
        """SHA-256 over prompts, length and stop rule: two runs did the same work if these agree."""
        text = f"{self.new_tokens} {self.stop.value} " + ";".join(" ".join(map(str, p)) for p in self.prompts)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Procedure:
    """How each trial is measured. The defaults are the rules of docs/method.md."""

    blocks: int = 5
    seed: int = 0
    settle_s: float = 0.5
    """Pause before the idle section, so that clocks and caches come to rest."""
    idle_s: float = 2.0
    """Least length of the idle section (model loaded, nothing asked)."""
    window_s: float = 3.0
    """Least length of the generation section; meters with a coarse counter lengthen it."""
    quantum_share: float = 0.01
    """The counter's quantum is at most this share of the generation section."""
    warmup_s: float = 1.0
    """Least time spent warming up; warm-up also goes on until pass times agree within `warmup_tolerance`."""
    warmup_tolerance: float = 0.05
    warmup_max_s: float = 60.0
    timeout_s: float = 1800.0
    """A worker that takes longer than this is killed."""
    foreign_limit: float = 0.05
    """Other processes' CPU time, as a share of the machine's, above which a trial is invalid."""
    retries: int = 2
    """How often an invalid trial is repeated."""
    sample_interval_s: float = 0.5
    """Interval of the utilisation and power sampler (a process of its own)."""
    meters: tuple[str, ...] = ()
    """Names of the meters to use; empty means every one that is available."""
    cpu_watts: tuple[float, float] | None = None
    """(idle, full load) watts of the CPU for the estimating meter, where the user knows them."""
    boundary: Boundary = Boundary.MACHINE


@dataclass(frozen=True)
class Plan:
    """Everything a run will do. The same plan asked for again, or with more blocks, continues the same run."""

    model: Model
    workload: Workload
    configurations: tuple[Configuration, ...]
    procedure: Procedure

    @property
    def digest(self) -> str:
        """SHA-256 over what decides each trial.

        The model's folder is left out, its revision is in; the number of blocks is left out, so that blocks can be
        added to a run.
        """
        parts = (
            self.model.name,
            self.model.revision,
            self.model.weights.value,
            self.workload.digest,
            replace(self.procedure, blocks=0),
            sorted(c.key for c in self.configurations),
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Trial:
    """One configuration measured once, in a process of its own."""

    run_id: str
    block: int
    """From 0; every configuration appears once per block."""
    position: int
    """Place in the block's random order, from 0."""
    attempt: int
    """From 0; an invalid trial is repeated with the next number."""
    model: Model
    workload: Workload
    configuration: Configuration
    procedure: Procedure

    @property
    def id(self) -> str:
        return f"{self.run_id}.{self.block}.{self.configuration.key}.{self.attempt}"


# --- what meters say ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Domain:
    """Something a meter can read the energy of."""

    name: str
    """Unique on the machine, such as `cpu:package-0`, `dram:0`, `gpu:0`, `machine:psys`."""
    component: Component
    grade: Grade
    quantum_s: float
    """Time between two changes of the counter (or between two power samples)."""
    within: str | None = None
    """The domain that already contains this one; only domains that are within none are added up."""
    range_j: float | None = None
    """Joules after which the counter wraps to zero; None if it does not wrap."""
    max_power_w: float | None = None
    """Most power the domain can draw, where known: tells how soon a counter can wrap."""


@dataclass(frozen=True)
class Reading:
    """A cumulative energy reading of one domain; only differences mean anything."""

    domain: str
    time_s: float
    energy_j: float
    age_s: float | None = None
    """Most time since the counter stepped to this value; None where only the domain's quantum bounds it."""


@dataclass(frozen=True)
class PowerSample:
    """Power of a domain at a moment."""

    domain: str
    time_s: float
    power_w: float


@dataclass(frozen=True)
class UtilisationSample:
    """Use of computing resources at a moment. None where it cannot be read."""

    time_s: float
    cpu_percent: float | None = None
    """Of the measured process since the previous sample; 100 is one CPU."""
    system_cpu_percent: float | None = None
    """Of the whole machine since the previous sample; 100 is every CPU."""
    rss_bytes: int | None = None
    pss_bytes: int | None = None
    read_bytes: int | None = None
    """Cumulative bytes read from storage by the measured process."""
    write_bytes: int | None = None
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None
    """GPU memory used on the device, all processes."""
    gpu_clock_mhz: float | None = None
    gpu_temperature_c: float | None = None
    gpu_throttled: bool | None = None
    cpu_clock_mhz: float | None = None


# --- what a trial yields -----------------------------------------------------------------------------------------


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
class Facts:
    """What really runs, as the loaded engine shows it; never what was asked for."""

    engine_version: str
    libraries: tuple[tuple[str, str], ...] = ()
    devices: tuple[tuple[str, int], ...] = ()
    """(device, number of operators or weights placed there), such as (("cpu", 148),)."""
    weight_dtypes: tuple[tuple[str, int], ...] = ()
    """(dtype, bytes) of the weights as held in memory."""
    compute_dtype: str = ""
    """Type in which matrix products are computed, such as `fp32`."""
    kv_cache: bool = False
    """Whether decoding feeds one token a step and reuses keys and values."""
    kv_cache_dtype: str = ""
    threads: int | None = None
    detail: tuple[tuple[str, str], ...] = ()


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
    """The end of what the worker wrote to standard error."""

    @property
    def output_digest(self) -> str:
        """SHA-256 of the output ids; equal digests are equal outputs."""
        text = ";".join(" ".join(map(str, row)) for row in self.outputs)
        return hashlib.sha256(text.encode()).hexdigest() if self.outputs else ""

    def section(self, name: str) -> Section | None:
        """The section called `name`, or None if the trial did not get there."""
        return next((s for s in self.sections if s.name == name), None)


# --- what is told of several observations --------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A point estimate with a confidence interval; the bounds are None where data are too few for one."""

    estimate: float
    low: float | None
    high: float | None
    n: int
    """Number of independent observations (blocks)."""


# --- where it ran ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """A GPU of the machine."""

    index: int
    name: str
    memory_bytes: int
    driver: str
    power_limit_w: float | None = None


@dataclass(frozen=True)
class Environment:
    """The machine and software of a run; results from different machines are never compared silently."""

    cpu: str
    cpu_count: int
    """CPUs this process may use."""
    memory_bytes: int
    kernel: str
    system: str
    """Operating system, such as `Debian GNU/Linux 12`."""
    python: str
    gpus: tuple[Gpu, ...] = ()
    governor: str | None = None
    virtual_machine: str | None = None
    """Kind of hypervisor; None on bare metal or where unknown."""
    container: str | None = None
    cpu_features: tuple[str, ...] = ()
    """Instruction sets that matter here: avx2, avx512f, avx512_bf16, amx_bf16 ..."""
    cache_bytes: int | None = None
    """Last-level CPU cache."""
    memory_bandwidth_bytes_s: float | None = None
    """Measured read bandwidth of main memory."""
    packages: tuple[tuple[str, str], ...] = ()
    domains: tuple[Domain, ...] = ()
    """The energy domains that were metered."""

    @property
    def fingerprint(self) -> str:
        """Digest of the hardware alone: equal on one machine across reboots and upgrades."""
        gpus = [(g.name, g.memory_bytes) for g in self.gpus]
        # Total memory as the kernel reports it moves by megabytes between boots.
        parts = (self.cpu, self.cpu_count, round(self.memory_bytes / 2**30), gpus, self.virtual_machine)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Run:
    """A plan and where it ran."""

    id: str
    created_at: str
    """UTC, ISO 8601."""
    plan: Plan
    environment: Environment
    servewatt_version: str
    record_version: int = field(default=RECORD_VERSION)
