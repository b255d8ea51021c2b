"""Train the bundled code model from the sources of CPython's standard library.

    python -m tools.train_bundled_model --sources /usr/lib/python3.11 --corpus build/corpus --out build/model

The corpus is tokenised once into --corpus and read from there afterwards (then --sources may be left out). The model
is a Llama of about ten million parameters, small enough to travel inside the package. The corpus is small as well,
so it is read many times over: dropout, weight decay and the choice of the best checkpoint on validation files keep
the model from learning it by heart. A GPU takes minutes; a CPU takes days, but runs the same code (try --steps 3).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from tools.bundled_corpus import END_OF_TEXT, END_OF_TEXT_ID, VOCABULARY_SIZE, Corpus, Kind, Part, build, load, save

CONTEXT = 512
SAMPLE_PROMPTS = (
    'def fibonacci(n):\n    """Return',
    "import os\n\ndef",
    "class Stack:\n    def __init__(self",
    "def read_lines(path",
    "class TestParser(unittest.TestCase):\n",
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, beside the corpus; the defaults are the bundled model's."""

    seed: int = 0
    steps: int = 3000
    minutes: float = math.inf
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.5
    dropout: float = 0.3
    warmup_steps: int = 200
    library_share: float = 0.4
    aligned_share: float = 0.5
    validate_every: int = 250


@dataclass
class Best:
    """The checkpoint with the fewest bits per byte on the validation files so far."""

    bits_per_byte: float = math.inf
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)


class Sampler:
    """Draws training windows: from library code or tests, from anywhere or from the start of a top-level line.

    Prompts begin at the start of a line, so some of the windows should too.
    """

    def __init__(self, corpus: Corpus, recipe: Recipe, device: torch.device) -> None:
        self._device = device
        self._recipe = recipe
        self._random = np.random.default_rng(recipe.seed)
        kinds = [Kind.LIBRARY] * (recipe.library_share > 0) + [Kind.TESTS] * (recipe.library_share < 1)
        ends_line = _line_ending_tokens(corpus.tokenizer)
        streams = {kind: corpus.streams[Part.TRAIN, kind] for kind in kinds}
        self._starts = {kind: np.flatnonzero(ends_line[stream[: -CONTEXT - 2]]) + 1 for kind, stream in streams.items()}
        self._streams = {kind: torch.from_numpy(stream.astype(np.int32)).to(device) for kind, stream in streams.items()}
        self._offsets = torch.arange(CONTEXT + 1, device=device)

    def draw(self) -> Tensor:
        """Token ids of one batch, shape (batch, CONTEXT + 1), int64."""
        library = round(self._recipe.batch * self._recipe.library_share)
        counts = {Kind.LIBRARY: library, Kind.TESTS: self._recipe.batch - library}
        return torch.cat([self._windows(kind, count) for kind, count in counts.items() if count])

    def _windows(self, kind: Kind, count: int) -> Tensor:
        stream = self._streams[kind]
        anywhere = self._random.integers(0, len(stream) - CONTEXT - 1, count)
        aligned = self._random.choice(self._starts[kind], count)
        chosen = np.where(self._random.random(count) < self._recipe.aligned_share, aligned, anywhere)
        starts = torch.from_numpy(chosen).to(self._device)
        return stream[starts[:, None] + self._offsets].long()


def _line_ending_tokens(tokenizer: Tokenizer) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """For each token id, whether its text ends a line, so that a top-level line follows."""
    texts = [tokenizer.decode([token], skip_special_tokens=False) for token in range(tokenizer.get_vocab_size())]
    return np.array([text.endswith("\n") for text in texts])


def new_model(seed: int) -> LlamaForCausalLM:
    """The untrained model, in float32."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=320,
        intermediate_size=768,
        num_hidden_layers=8,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=END_OF_TEXT_ID,
        eos_token_id=END_OF_TEXT_ID,
        # Set on saving: a padding row would not learn, and here it is the end-of-text token's.
        pad_token_id=None,
    )
    return LlamaForCausalLM(config)


def add_dropout(model: LlamaForCausalLM, probability: float) -> None:
    """Drop elements of what enters and joins the residual stream; Llama itself has no such dropout."""

    def drop(module: nn.Module, _arguments: object, output: Tensor) -> Tensor:
        return functional.dropout(output, probability, module.training)

    model.model.embed_tokens.register_forward_hook(drop)
    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_hook(drop)
        layer.mlp.down_proj.register_forward_hook(drop)


def optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms.

    Muon (Jordan et al. 2024) with the update scaled to AdamW's size, as in arXiv 2502.16982.
    """
    inner = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    chosen = set(map(id, inner))
    outer = [weight for weight in model.parameters() if id(weight) not in chosen]
    return [
        torch.optim.Muon(
            inner, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(outer, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def learning_rate(recipe: Recipe, step: int, elapsed_s: float) -> float:
    """Linear warm-up, then linear decay to zero at the last step or the last minute, whichever is nearer."""
    progress = max(step / recipe.steps, elapsed_s / (recipe.minutes * 60))
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup_steps) * max(0.0, 1.0 - progress)


def loss_function(model: LlamaForCausalLM, compiled: bool) -> Callable[[Tensor], Tensor]:
    """Mean cross-entropy in nats per token of windows of shape (batch, length + 1)."""

    def head(hidden: Tensor, targets: Tensor) -> Tensor:
        logits = model.lm_head(hidden).float()
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    if compiled:
        head = torch.compile(head)
        for layer in model.model.layers:
            layer.compile()

    def loss(windows: Tensor) -> Tensor:
        with torch.autocast(windows.device.type, dtype=torch.bfloat16):
            hidden = model.model(input_ids=windows[:, :-1], use_cache=False).last_hidden_state
            result: Tensor = head(hidden, windows[:, 1:])
            return result

    return loss


def validation_loss(loss: Callable[[Tensor], Tensor], windows: Tensor, batch: int) -> float:
    """Mean loss in nats per token over whole batches of `windows`."""
    batches = windows.split(batch)
    if len(batches) > 1 and len(batches[-1]) < batch:
        batches = batches[:-1]
    with torch.no_grad():
        return float(torch.stack([loss(part) for part in batches]).mean())


def validation_windows(corpus: Corpus, kind: Kind, device: torch.device) -> Tensor:
    """Overlapping windows over the validation files, shape (count, CONTEXT + 1)."""
    stream = torch.from_numpy(corpus.streams[Part.VALIDATION, kind].astype(np.int64))
    return stream.unfold(0, CONTEXT + 1, CONTEXT // 2).contiguous().to(device)


def train(corpus: Corpus, recipe: Recipe, device: torch.device, compiled: bool) -> tuple[LlamaForCausalLM, Best]:
    """Train a new model; it comes back with the weights of its best checkpoint, in float32."""
    model = new_model(recipe.seed).to(device)
    add_dropout(model, recipe.dropout)
    loss = loss_function(model, compiled)
    sampler = Sampler(corpus, recipe, device)
    validation = validation_windows(corpus, Kind.LIBRARY, device)
    share = corpus.share(Part.VALIDATION, Kind.LIBRARY)
    bits_per_nat = share.tokens / share.size_bytes / math.log(2)
    steppers = optimizers(model, recipe)
    best = Best()
    started = time.monotonic()
    step, finished = 0, False
    while not finished:
        rate = learning_rate(recipe, step, time.monotonic() - started)
        value = train_step(loss, sampler.draw(), model, steppers, rate)
        step += 1
        finished = step >= recipe.steps or time.monotonic() - started > recipe.minutes * 60
        if finished or step % recipe.validate_every == 0:
            model.eval()
            measured = validation_loss(loss, validation, recipe.batch) * bits_per_nat
            model.train()
            elapsed_s = time.monotonic() - started
            report(step, float(value), measured, step * recipe.batch * CONTEXT / elapsed_s, elapsed_s)
            if measured < best.bits_per_byte:
                best = Best(measured, step, {k: v.detach().clone() for k, v in model.state_dict().items()})
    model.load_state_dict(best.weights)
    return model.eval(), best


def train_step(
    loss: Callable[[Tensor], Tensor],
    windows: Tensor,
    model: LlamaForCausalLM,
    steppers: list[torch.optim.Optimizer],
    rate: float,
) -> Tensor:
    """One update at learning rate `rate`; returns the loss before it."""
    value = loss(windows)
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = rate
        stepper.step()
        stepper.zero_grad(set_to_none=True)
    return value.detach()


def report(step: int, train_loss: float, bits_per_byte: float, tokens_per_s: float, elapsed_s: float) -> None:
    """One line of the log, on stdout."""
    print(
        f"step {step:6d}  train {train_loss:.4f} nats/token  validation {bits_per_byte:.4f} bits/byte"
        f"  {tokens_per_s / 1000:.0f} k tokens/s  {elapsed_s:.0f} s",
        flush=True,
    )


def export(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write model, tokenizer and their settings to `folder`, weights in bfloat16, as transformers loads them."""
    model = model.to("cpu", torch.bfloat16)
    model.config.pad_token_id = END_OF_TEXT_ID
    model.generation_config = GenerationConfig(
        bos_token_id=END_OF_TEXT_ID, eos_token_id=END_OF_TEXT_ID, pad_token_id=END_OF_TEXT_ID, do_sample=False
    )
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "model_max_length": CONTEXT,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def samples(folder: Path, new_tokens: int = 64) -> list[str]:
    """Greedy continuations of SAMPLE_PROMPTS by the exported model, computed in float32 on the CPU."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = []
    for prompt in SAMPLE_PROMPTS:
        ids = torch.tensor([tokenizer.encode(prompt).ids])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, do_sample=False)
        texts.append(tokenizer.decode(out[0].tolist()))
    return texts


def open_corpus(folder: Path, sources: Path | None) -> Corpus:
    """The tokenised corpus in `folder`, made from `sources` if it is not there yet."""
    if (folder / "corpus.json").exists():
        return load(folder)
    if sources is None:
        sys.exit(f"no corpus in {folder}; give --sources, the Lib folder of CPython, to make it")
    corpus = build(sources)
    save(corpus, folder)
    return corpus


def parse_arguments() -> argparse.Namespace:
    """Command-line arguments; each field of Recipe is an option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, help="CPython's Lib folder")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the tokenised corpus, made if missing")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="compile layers and loss with torch.compile")
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default {value}")
    return parser.parse_args()


def main() -> None:
    """Prepare the corpus, train, export, and show samples."""
    arguments = parse_arguments()
    recipe = Recipe(**{name: getattr(arguments, name) for name in asdict(Recipe())})
    corpus = open_corpus(arguments.corpus, arguments.sources)
    print(json.dumps({"recipe": asdict(recipe), "corpus": corpus.digest, "torch": torch.__version__}), flush=True)
    model, best = train(corpus, recipe, torch.device(arguments.device), arguments.compile)
    print(
        f"best checkpoint: {best.bits_per_byte:.4f} bits/byte on the validation files at step {best.step};"
        f" {model.num_parameters()} parameters",
        flush=True,
    )
    export(model, corpus.tokenizer, arguments.out)
    for text in samples(arguments.out):
        print("-" * 40, text, sep="\n", flush=True)


if __name__ == "__main__":
    main()
