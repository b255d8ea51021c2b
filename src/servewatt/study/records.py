"""The records of the study: observations, cells of its tables, and findings of its tests."""

from __future__ import annotations

from dataclasses import dataclass

from servewatt.records import Grade, Status, Via, Weights


@dataclass(frozen=True)
class Observation:
    """One trial as one row of the study's table. SI units without prefixes; None where a quantity was not measured.

    Energies are those of the whole machine's metered domains (`energy_j`) and of its parts; a part that was not
    metered is None, never zero.
    """

    campaign: str
    """Which measuring campaign: the name of the results file, such as `h200`."""
    run: str
    machine: str
    """Fingerprint of the hardware."""
    model: str
    """As in the study's tables."""
    parameters: int
    weights: Weights
    engine: str
    provider: str
    precision: str
    batch: int
    via: Via
    configuration: str
    """The study's name of it, such as `<CUDA, ONNX>`; see `names.label`."""
    block: int
    position: int
    attempt: int
    status: Status
    reason: str = ""
    started_at: str = ""
    grade: Grade = Grade.MISSING
    """The worst grade in `energy_j`."""
    cpu_grade: Grade = Grade.MISSING
    gpu_grade: Grade = Grade.MISSING
    tokens_in: int = 0
    tokens_out: int = 0
    """Tokens generated inside the window."""
    requests: int = 0
    duration_s: float | None = None
    """Length of the generation window."""
    energy_j: float | None = None
    """Of the window, by the run's boundary."""
    cpu_energy_j: float | None = None
    gpu_energy_j: float | None = None
    energy_error_j: float | None = None
    """Bound of the error that the counters' quanta cause."""
    idle_power_w: float | None = None
    """By the run's boundary, model loaded, nothing asked."""
    energy_j_per_token: float | None = None
    cpu_energy_j_per_token: float | None = None
    gpu_energy_j_per_token: float | None = None
    active_j_per_token: float | None = None
    s_per_token: float | None = None
    """Window over tokens generated: prefill included."""
    ttft_s: float | None = None
    inter_token_mean_s: float | None = None
    """Mean over the window's generations: engines that hand over several tokens at once have a median of 0."""
    load_s: float | None = None
    load_energy_j: float | None = None
    cpu_percent: float | None = None
    """Of the processes that serve; 100 is one CPU."""
    rss_bytes: int | None = None
    """Peak."""
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None
    """Peak, added by the trial."""
    output_digest: str = ""
    engine_share: float | None = None
    """Through HTTP: seconds the engine worked over seconds the client waited, summed over the window's requests."""
    floor_s_per_token: float | None = None
    """Least time of a decoded token by memory and arithmetic (`stats.limits`); null where no floor is known."""
    times_floor: float | None = None
    """Measured time of a decoded token over that."""


@dataclass(frozen=True)
class Variable:
    """A response variable of the study: a column of Observation."""

    name: str
    """Field of Observation."""
    title: str
    unit: str
    scale: float = 1.0
    """Multiply the field by this to show it in `unit`."""


VARIABLES = (
    Variable("energy_j_per_token", "global energy", "mJ/token", 1e3),
    Variable("cpu_energy_j_per_token", "CPU energy", "mJ/token", 1e3),
    Variable("gpu_energy_j_per_token", "GPU energy", "mJ/token", 1e3),
    Variable("s_per_token", "execution time", "ms/token", 1e3),
    Variable("cpu_percent", "CPU usage", "%"),
    Variable("rss_bytes", "RAM", "GB", 1e-9),
    Variable("gpu_percent", "GPU usage", "%"),
    Variable("gpu_memory_bytes", "GPU memory", "GB", 1e-9),
)
"""The study's response variables, in its order, per generated token where work matters."""


@dataclass(frozen=True)
class Cell:
    """One model in one configuration: medians over repetitions. What tables, ranks and savings are made of.

    Published cells are of one pass over the study's 164 prompts, ours per generated token: only ratios and ranks
    within one source compare.
    """

    source: str
    """`published`, or the campaign."""
    model: str
    configuration: str
    repetitions: int
    energy_j: float | None
    """Global energy: the study's own sum of CPU and GPU, or our boundary's."""
    cpu_energy_j: float | None
    gpu_energy_j: float | None
    time_s: float | None


@dataclass(frozen=True)
class Effect:
    """How large a difference is, whatever its p-value."""

    name: str
    """`cliff's delta` or `omega squared`."""
    value: float
    magnitude: str
    """`negligible`, `small`, `medium`, `large`, by the thresholds that the function's docstring cites."""


@dataclass(frozen=True)
class Finding:
    """One hypothesis test on one variable of one subject, or why it cannot be computed."""

    test: str
    """`shapiro-wilk`, `levene`, `welch-anova`, `kruskal-wallis`, `dunn-holm` or `games-howell`."""
    groups: tuple[str, ...]
    """One group for Shapiro-Wilk, all for an omnibus test, two for a pair."""
    statistic: float | None = None
    p_value: float | None = None
    """As the test's own procedure gives it: Holm-adjusted within the subject for dunn-holm."""
    p_family: float | None = None
    """Holm-adjusted over the whole family: all findings of the same test over subjects and variables."""
    effect: Effect | None = None
    refused: str = ""
    """Why it cannot be computed; then there is neither statistic nor p-value."""


@dataclass(frozen=True)
class Battery:
    """The study's battery of tests on one variable of one subject (a model)."""

    subject: str
    variable: str
    """Name of the variable, such as a column of Observation."""
    alpha: float
    groups: tuple[tuple[str, int], ...]
    """Each group's name and number of usable observations, in the order given."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know, such as why Dunn's test cannot tell separated groups apart at this n."""
