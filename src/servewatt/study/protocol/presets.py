"""How the study is measured: the published way, the sound way, and a quick one; and what differs, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from servewatt.errors import InputError, nearest
from servewatt.records import Precision, Procedure, Stop, Via


@dataclass(frozen=True)
class Protocol:
    """A preset of `servewatt study run`. Options of the command override each part."""

    name: str
    summary: str
    prompts: int
    """How many of the study's prompts make one pass."""
    new_tokens: int | None
    """Tokens out per prompt; None: what `max_length` leaves after the longest prompt."""
    max_length: int
    """Most tokens of prompt and answer together, where `new_tokens` is None."""
    stop: Stop
    via: Via
    batch: int
    precision: Precision
    engine_options: Mapping[str, str]
    procedure: Procedure


SOUND = Protocol(
    name="sound",
    summary="equal work, counters, warm-up, random order in blocks, idle power measured in each trial",
    prompts=4,
    new_tokens=32,
    max_length=0,
    stop=Stop.LENGTH,
    via=Via.PROCESS,
    batch=1,
    precision=Precision.FP32,
    engine_options={},
    procedure=Procedure(blocks=5),
)

PUBLISHED = Protocol(
    name="published",
    summary="as arXiv 2412.15441 measured, where that does not contradict an honest figure",
    prompts=164,
    new_tokens=None,
    max_length=128,
    stop=Stop.EOS,
    via=Via.HTTP,
    batch=1,
    precision=Precision.FP32,
    engine_options={"linear": "plain"},
    # One pass over the prompts is the window, as there; the time-out leaves room for the slowest published pass.
    procedure=Procedure(blocks=10, idle_s=300.0, window_s=0.001, timeout_s=6 * 3600.0),
)

QUICK = Protocol(
    name="quick",
    summary="sound, but with less of everything: to see that all of it runs",
    prompts=2,
    new_tokens=8,
    max_length=0,
    stop=Stop.LENGTH,
    via=Via.PROCESS,
    batch=1,
    precision=Precision.FP32,
    engine_options={},
    procedure=Procedure(blocks=2, settle_s=0.2, idle_s=0.5, window_s=1.0, warmup_s=0.3),
)

PROTOCOLS = {p.name: p for p in (SOUND, PUBLISHED, QUICK)}


def protocol(name: str) -> Protocol:
    """The preset called `name`; InputError with the nearest names if there is none."""
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol {name!r}", nearest(name, PROTOCOLS))
    return PROTOCOLS[name]


@dataclass(frozen=True)
class Difference:
    """One line of what differs between the study as published, its preset here, and the sound preset."""

    topic: str
    study: str
    """What the study did."""
    published: str
    """What `--protocol published` does."""
    sound: str
    """What `--protocol sound` does."""


DIFFERENCES = (
    Difference(
        "prompts",
        "164, each one line of a HumanEval prompt cut to its first 10-15 tokens",
        "164 made by the same rule (`servewatt study prompts`), seeded",
        "the first 4 of them, in passes repeated until the window is full",
    ),
    Difference(
        "output length",
        "at most 128 tokens in total, ends at end-of-sequence; lengths neither recorded nor equal",
        "at most 128 in total, ends at end-of-sequence; lengths recorded, energy per generated token",
        "32 new tokens for every prompt and engine",
    ),
    Difference("batch", "1", "1", "1"),
    Difference(
        "way in",
        "HTTP requests to a server",
        "HTTP requests to a server process (`--via http`)",
        "the engine in the measured process (`--via process`); `--via process,http` states the share of HTTP",
    ),
    Difference("repetitions", "10, one after another", "10 blocks", "5 blocks, more by `--blocks`"),
    Difference(
        "order",
        "fixed; a long-lived server",
        "random within each block, a fresh process a trial (kept sound: order effects cannot be undone afterwards)",
        "random within each block, a fresh process a trial",
    ),
    Difference(
        "warm-up",
        "none",
        "until times are steady (kept sound: otherwise compilation is measured, not serving)",
        "until times are steady",
    ),
    Difference(
        "idle",
        "300 s once a repetition, model not loaded, not subtracted",
        "300 s in each trial with the model loaded; total energy as published, active energy beside it",
        "2 s in each trial with the model loaded; total and active energy",
    ),
    Difference(
        "energy of the GPU",
        "mean power of nvidia-smi (every 100 ms) times the window",
        "the board's energy counter, read at both ends",
        "the board's energy counter, read at both ends just after a step",
    ),
    Difference(
        "energy of the CPU",
        "RAPL every 200 ms",
        "RAPL read at both ends; where there is none, an estimate that says so",
        "RAPL read at both ends; where there is none, an estimate that says so",
    ),
    Difference(
        "boundary",
        "the idle GPU counts in CUDA rows and not in CPU rows",
        "every metered domain counts for every configuration; `--boundary` narrows it",
        "every metered domain counts for every configuration; `--boundary` narrows it",
    ),
    Difference(
        "key-value cache",
        "off in most OV rows, at least one ONNX and probably one TORCH row",
        "on, and proven",
        "on, and proven",
    ),
    Difference("JIT", "one forward pass over 128 padded positions", "generates as the others do", "generates"),
    Difference(
        "precision",
        "defaults of the toolchains: int8 or bf16 in places",
        "fp32, proven by what the loaded engine shows",
        "fp32 (or what `--precision` asks), proven by what the loaded engine shows",
    ),
    Difference(
        "linear layers of TORCH on CPU",
        "PyTorch's own",
        "PyTorch's own (`linear=plain`)",
        "packed for oneDNN once at load, as a server would",
    ),
    Difference(
        "outputs",
        "not compared",
        "compared with TORCH, fp32, token by token",
        "compared with TORCH, fp32, token by token",
    ),
    Difference(
        "other load on the machine",
        "not measured",
        "measured; above 5 % the trial is repeated",
        "measured; above 5 % the trial is repeated",
    ),
)
"""What differs. docs/explanation/study-protocols.md shows the same lines."""
