"""Measure the bundled code model on the files that were held out of its training.

    python -m tools.evaluate_bundled_model --sources /usr/lib/python3.11 --model src/servewatt/models/bundled

Prints bits per byte: the sum of -log2 p over all tokens of the files, divided by their UTF-8 bytes. Each file is read
from its start, after an end-of-text token, in windows of the model's context that overlap by half, so that a token
past the first window is predicted from at least half a context. Arithmetic is float32.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from tools.bundled_corpus import END_OF_TEXT_ID, Kind, Part, Source, collect, digest


@dataclass(frozen=True)
class Window:
    """Token ids to feed, and how many of the last predictions are scored here."""

    ids: list[int]
    scored: int


@dataclass(frozen=True)
class Score:
    """Result over one kind of files."""

    files: int
    size_bytes: int
    tokens: int
    bits: float

    @property
    def bits_per_byte(self) -> float:
        """Bits needed for each byte of text."""
        return self.bits / self.size_bytes


def windows(ids: list[int], context: int) -> Iterator[Window]:
    """Windows of at most `context` inputs that score each token of `ids` after the first exactly once."""
    scored_until = 1
    for start in range(0, max(1, len(ids) - 1), context // 2):
        end = min(start + context + 1, len(ids))
        yield Window(ids[start:end], end - scored_until)
        scored_until = end
        if end == len(ids):
            return


def bits(model: LlamaForCausalLM, batch: list[Window]) -> float:
    """Sum of -log2 p over the scored tokens of a batch of windows."""
    width = max(len(window.ids) for window in batch)
    # Padding on the right is never attended to by what comes before it, so no mask is needed.
    ids = torch.full((len(batch), width), END_OF_TEXT_ID)
    scored = torch.zeros((len(batch), width - 1), dtype=torch.bool)
    for row, window in enumerate(batch):
        length = len(window.ids)
        ids[row, :length] = torch.tensor(window.ids)
        scored[row, length - 1 - window.scored : length - 1] = True
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids[:, :-1].to(model.device), use_cache=False).logits
    losses = cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten().to(model.device), reduction="none")
    return float(losses[scored.flatten().to(model.device)].double().sum()) / math.log(2)


def evaluate(model: LlamaForCausalLM, tokenizer: Tokenizer, sources: list[Source], batch: int = 16) -> Score:
    """Bits per byte of `sources`."""
    encoded = [encoding.ids for encoding in tokenizer.encode_batch([source.text for source in sources])]
    context = model.config.max_position_embeddings
    every = [window for ids in encoded for window in windows([END_OF_TEXT_ID, *ids], context)]
    every.sort(key=lambda window: len(window.ids))
    total = sum(bits(model, every[start : start + batch]) for start in range(0, len(every), batch))
    size_bytes = sum(source.size_bytes for source in sources)
    return Score(len(sources), size_bytes, sum(map(len, encoded)), total)


def parse_arguments() -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="CPython's Lib folder")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--part", type=Part, choices=list(Part), default=Part.HELD_OUT, help="default held_out")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def main() -> None:
    """Print one line for each kind of files."""
    arguments = parse_arguments()
    sources = collect(arguments.sources)
    model = LlamaForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval().to(arguments.device)
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    print(f"corpus {digest(sources)}")
    for kind in Kind:
        chosen = [source for source in sources if (source.part, source.kind) == (arguments.part, kind)]
        score = evaluate(model, tokenizer, chosen)
        print(
            f"{arguments.part} {kind}: {score.bits_per_byte:.4f} bits/byte"
            f" ({score.files} files, {score.size_bytes} bytes, {score.tokens} tokens)",
            flush=True,
        )


if __name__ == "__main__":
    main()
