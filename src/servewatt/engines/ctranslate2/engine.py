"""CTranslate2: a C++ runtime for transformers with its own decoding loop, over a model that we write for it."""

from __future__ import annotations

import ctypes
import itertools
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servewatt.engines.base import Artefacts, Session, Step
from servewatt.engines.ctranslate2.entry import ENTRY
from servewatt.engines.ctranslate2.export import ModelType, check_architecture, export, export_key
from servewatt.engines.ctranslate2.model import HeldWeights, held_weights
from servewatt.engines.shared.cache_trial import TRIAL_STEPS, CacheTrial, Timed, try_cache
from servewatt.engines.shared.cuda_libraries import load_libraries
from servewatt.engines.shared.host import cpu_threads, library_versions
from servewatt.errors import RefusedError, UnavailableError
from servewatt.records import Configuration, Facts, Model, Precision, Provider


class CTranslate2Engine:
    """Writes a model once a type, then loads it."""

    def check(self, model: Model, configuration: Configuration) -> None:
        _model_type(configuration)
        check_architecture(model)

    def prepare(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> None:
        _artefact(model, configuration, artefacts)

    def load(self, model: Model, configuration: Configuration, artefacts: Artefacts) -> Session:
        model_type = _model_type(configuration)
        check_architecture(model)
        _check_device(configuration, model_type)
        folder = _artefact(model, configuration, artefacts)
        weights = held_weights(folder / "model.bin")
        return CTranslate2Session(_open(folder, configuration, model_type), weights, model.context_length)


def _model_type(configuration: Configuration) -> ModelType:
    """The type of model that a configuration runs; RefusedError for what CTranslate2 cannot compute."""
    ENTRY.check_options(configuration)
    on_gpu = configuration.provider is Provider.CUDA
    rest = dict(configuration.options).get("floating")
    if configuration.precision is Precision.W8A8:
        rest = rest or ("bf16" if on_gpu else "fp32")
        if rest != "fp32" and not on_gpu:
            raise RefusedError(f"{configuration.key}: on the CPU what is not int8 is fp32", "leave out floating")
        return ModelType(rest, int8_matrices=True)
    if rest is not None:
        raise RefusedError(f"{configuration.key}: option floating belongs to precision w8a8", "leave it out")
    if configuration.precision is Precision.INT8:
        raise RefusedError(
            f"{configuration.key}: CTranslate2 multiplies 8-bit weights by activations in 8 bits too",
            "that is precision w8a8",
        )
    if not configuration.precision.is_floating or (configuration.precision is not Precision.FP32 and not on_gpu):
        raise RefusedError(
            f"{configuration.key}: CTranslate2 has no kernels for {configuration.precision.value} on "
            f"{configuration.provider.value} and would convert the weights",
            "use fp32 or w8a8, on provider cuda also bf16 or fp16",
        )
    return ModelType(configuration.precision.value)


def _artefact(model: Model, configuration: Configuration, artefacts: Artefacts) -> Path:
    """The folder of the written model."""
    model_type = _model_type(configuration)
    check_architecture(model)
    return artefacts.get_or_build(
        "ctranslate2", export_key(model, model_type), lambda folder: export(model, model_type, folder)
    )


def _check_device(configuration: Configuration, model_type: ModelType) -> None:
    """UnavailableError without a GPU, RefusedError if the device lacks the type: it would be converted silently."""
    import ctranslate2

    if configuration.provider is Provider.CUDA:
        if ctranslate2.get_cuda_device_count() == 0:
            raise UnavailableError(
                f"{configuration.key}: ctranslate2 finds no CUDA device", "check `nvidia-smi`, or use provider cpu"
            )
        load_libraries(
            ("libcublasLt.so.12", "libcublas.so.12"),
            f"{configuration.key}: ctranslate2",
            "servewatt engines add --rebuild ctranslate2 --pip-argument=nvidia-cublas-cu12",
        )
    able = ctranslate2.get_supported_compute_types(configuration.provider.value)
    if model_type.name not in able:
        raise RefusedError(
            f"{configuration.key}: no kernels for {model_type.name} on this {configuration.provider.value}",
            f"ctranslate2 computes here in {', '.join(sorted(able))}",
        )


def _open(folder: Path, configuration: Configuration, model_type: ModelType) -> Any:
    import ctranslate2

    def load() -> Any:
        return ctranslate2.Generator(
            str(folder),
            device=configuration.provider.value,
            compute_type=model_type.name,
            inter_threads=1,
            intra_threads=cpu_threads(configuration),
        )

    if configuration.provider is Provider.CUDA:
        generator = load()
        _wait_for_copies(configuration)
    else:
        # Loading 8-bit weights computes on OpenMP threads of the thread that loads. While those exist beside the
        # decoding thread's there are more than CPUs, and OpenMP lets them sleep at every barrier; with their thread
        # they end.
        with ThreadPoolExecutor(1, "ctranslate2-load") as loader:
            generator = loader.submit(load).result()
    if generator.compute_type != model_type.name:
        raise RefusedError(
            f"{configuration.key}: ctranslate2 computes in {generator.compute_type}, not in {model_type.name}",
            "this device has no kernels for it",
        )
    return generator


def _wait_for_copies(configuration: Configuration) -> None:
    """Wait until the weights that this thread has sent to the GPU are there.

    CTranslate2 sends them in the loading thread's stream and computes in that of another. Only the process's first
    thread has a stream that the others wait for: after a load in any other, the first tokens were seen to be wrong.
    """
    code = ctypes.CDLL("libcuda.so.1").cuCtxSynchronize()
    if code:
        raise UnavailableError(
            f"{configuration.key}: the GPU failed as it was given the weights (CUDA error {code})", "check `nvidia-smi`"
        )


@dataclass(frozen=True)
class _Proof:
    """Result of a trial generation."""

    cache: CacheTrial
    threads: int


class CTranslate2Session:
    """A loaded generator."""

    def __init__(self, generator: Any, weights: HeldWeights, context_length: int) -> None:
        self._held = [generator]
        # A generator that outlives the interpreter aborts the process, so it is let go before that at the latest.
        self._let_go = weakref.finalize(self, self._held.clear)
        self._weights = weights
        self._context_length = context_length
        self._last_prompt: list[int] = []
        self._proof: _Proof | None = None

    @property
    def generator(self) -> Any:
        """The loaded `ctranslate2.Generator`."""
        return self._held[0]

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int] = frozenset()
    ) -> Iterator[Step]:
        """Greedy decoding in CTranslate2's loop; see `servewatt.engines.base.Session.generate`.

        The loop notes each token as it comes and the Steps are handed out when it has ended: a consumer that woke at
        every token would take CPU time from it. Of prompts of unequal length the loop takes in as many tokens at
        once as the shortest has and the rest one a step, so the rows produce their first tokens one after another.
        A Step is complete when the last row has its token and the Step before it is complete.
        """
        tokens, times_s = self._run(prompts, max_new_tokens, stop_ids)
        self._last_prompt = list(prompts[0])
        for index, time_s in enumerate(times_s):
            yield Step(tuple(row[index] if index < len(row) else None for row in tokens), time_s)

    def _run(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_ids: frozenset[int]
    ) -> tuple[list[list[int]], list[float]]:
        """Tokens of each row, and the times at which every row had its first, second ... token, or had stopped."""
        lengths = [len(prompt) for prompt in prompts]
        # All but the last token of the shortest prompt are taken in at once; the loop's step 0 follows.
        taken_in = min(lengths) - 1
        first_steps = [length - 1 - taken_in for length in lengths]
        tokens: list[list[int]] = [[] for _ in prompts]
        times_s = [0.0] * max_new_tokens
        now = time.monotonic

        def note(result: Any) -> bool:
            row = result.batch_id
            index = result.step - first_steps[row]
            if index < 0:
                return False
            token = result.token_id
            tokens[row].append(token)
            times_s[index] = now()
            return token in stop_ids or index + 1 == max_new_tokens

        self.generator.generate_batch(
            [list(map(str, prompt)) for prompt in prompts],
            # With nothing taken in at once, the loop counts the prompts as produced.
            max_length=max_new_tokens if taken_in else max_new_tokens + max(first_steps),
            beam_size=1,
            sampling_topk=1,
            end_token=[],
            include_prompt_in_result=False,
            callback=note,
        )
        # A row that stopped early may have had its last token after others had theirs of later steps.
        steps = max(map(len, tokens))
        return tokens, list(itertools.accumulate(times_s[:steps], max))

    def log_probabilities(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Natural logarithm of the probability of each token of each row after its first, given those before it.

        Through the weights and the arithmetic that generate; each row in one pass, as prompts are taken in.
        """
        self._last_prompt = list(rows[0])
        scored = self.generator.score_batch([list(map(str, row)) for row in rows], max_batch_size=1, max_input_length=0)
        return [list(result.log_probs) for result in scored]

    def synchronize(self) -> None:
        """Nothing to do: generation returns when it is complete."""

    def peak_device_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self._let_go()

    def facts(self) -> Facts:
        import ctranslate2

        floating = self.generator.compute_type.removeprefix("int8_")
        names = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
        if self._last_prompt and self._proof is None:
            self._proof = self._prove()
        proof = self._proof
        reuses = proof.cache.reuses if proof else False
        return Facts(
            engine_version=ctranslate2.__version__,
            libraries=library_versions(("ctranslate2", "numpy")),
            devices=((self.generator.device, self._weights.count),),
            weight_dtypes=self._weights.dtypes,
            compute_dtype="int8" if self.generator.compute_type.startswith("int8") else names[floating],
            kv_cache=reuses,
            kv_cache_dtype="" if reuses is False else names[floating],
            threads=proof.threads if proof else None,
            detail=(
                ("compute_type", self.generator.compute_type),
                ("generators", str(self.generator.num_generators)),
                ("kv_cache_proof", proof.cache.text if proof else "none yet"),
            ),
        )

    def _prove(self) -> _Proof:
        return _Proof(try_cache(self._timed, self._context_length), self._decoding_threads())

    def _timed(self, length: int) -> Timed:
        """A generation after a prompt of `length` tokens."""
        prompt = [self._last_prompt[i % len(self._last_prompt)] for i in range(length)]
        start_s = time.monotonic()
        _, times_s = self._run([prompt], TRIAL_STEPS, frozenset())
        return Timed(times_s[0] - start_s, [after - before for before, after in itertools.pairwise(times_s)])

    def _decoding_threads(self) -> int:
        """CPU threads that OpenMP gives to the thread that decodes, asked in that thread."""
        import ctranslate2

        openmp = ctypes.CDLL(ctranslate2._ext.__file__)
        seen: list[int] = []

        def ask(_: Any) -> bool:
            seen.append(int(openmp.omp_get_max_threads()))
            return True

        self.generator.generate_batch([["0"]], max_length=1, end_token=[], callback=ask)
        return seen[0]
