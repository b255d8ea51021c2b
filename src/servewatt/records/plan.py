"""Records of a plan: model, workload, configurations, procedure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from servewatt.records.vocabulary import Boundary, ModelSource, Precision, Provider, Stop, Via, Weights


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
    build: str = ""
    """Name of the build whose code runs it (`servewatt.engines.environments.builds`); empty for the running one."""

    @property
    def key(self) -> str:
        """A short unique name, such as `torch/cpu/fp32/b1`."""
        parts = [self.engine, self.provider.value, self.precision.value, f"b{self.batch}"]
        if self.threads is not None:
            parts.append(f"t{self.threads}")
        parts += [f"{name}={value}" for name, value in self.options]
        if self.via is not Via.PROCESS:
            parts.append(self.via.value)
        if self.build:
            parts.append(f"@{self.build}")
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

    @property
    def without_place(self) -> Model:
        """The same without its folder, for files that others read: a path of this machine is nobody else's business."""
        return replace(self, folder="")


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
    """How each trial is measured. The defaults are the rules of docs/explanation/joule.md."""

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
    duet: bool = False
    """Whether the trials of a block are measured together, as a duet episode of alternating slices."""
    slice_s: float = 0.5
    """Least length of a slice of a duet episode; at least one whole batch, and longer with a coarse counter."""

    @property
    def identity(self) -> str:
        """What tells it from others in a digest.

        What later versions added counts only where it is used, so that runs of earlier ones keep their digests.
        """
        later = () if self.duet else ("duet", "slice_s")
        known = vars(replace(self, blocks=0)).items()
        return f"Procedure({', '.join(f'{name}={value!r}' for name, value in known if name not in later)})"


@dataclass(frozen=True)
class Race:
    """When a race may stop. Not part of what is measured: the same race goes on with another budget."""

    budget_s: float
    """Most seconds that one start of the command measures; an episode that has begun is finished, with few rounds."""
    tie: float = 0.03
    """Share of the cost below which a saving does not matter."""
    confidence: float = 0.95
    twin: bool | None = None
    """Whether the leader has a second process in each episode; None: where a rival is within a few per cent of it."""


@dataclass(frozen=True)
class Plan:
    """Everything a run will do. The same plan asked for again, or with more blocks, continues the same run."""

    model: Model
    workload: Workload
    configurations: tuple[Configuration, ...]
    procedure: Procedure
    race: Race | None = None
    """Of duet episodes, as many as a choice takes; None for a given number of blocks."""

    @property
    def digest(self) -> str:
        """SHA-256 over what decides each trial.

        The model's folder is left out, its revision is in; the number of blocks is left out, so that blocks can be
        added to a run, and so is the race, which goes on with another budget.
        """
        parts = (
            repr(self.model.name),
            repr(self.model.revision),
            repr(self.model.weights.value),
            repr(self.workload.digest),
            self.procedure.identity,
            repr(sorted(c.key for c in self.configurations)),
        )
        return hashlib.sha256(f"({', '.join(parts)})".encode()).hexdigest()


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
