"""Tiny models of each architecture with random weights, their reference output, and a place for artefacts."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from servewatt.engines import Session
from servewatt.records import Model, ModelSource, Weights

VOCABULARY = 311
SIZES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 256},
    "gpt2": {"n_positions": 256},
    "gpt_bigcode": {"n_positions": 256, "multi_query": True},
    "gpt_neox": {"intermediate_size": 128, "max_position_embeddings": 256, "rotary_pct": 0.25},
    "bloom": {},
    "gemma": {"num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 128, "max_position_embeddings": 256},
    "phi": {"intermediate_size": 128, "max_position_embeddings": 256, "partial_rotary_factor": 0.5},
}


class FolderArtefacts:
    """Artefacts in plain folders."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.built: list[str] = []

    def get_or_build(self, kind: str, key: Sequence[str], build: Callable[[Path], None]) -> Path:
        name = hashlib.sha256("\0".join((kind, *key)).encode()).hexdigest()[:24]
        folder, draft = self._root / name, self._root / f"{name}.draft"
        if not folder.exists():
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            build(draft)
            draft.rename(folder)
            self.built.append(kind)
        return folder


def write_model(folder: Path, kind: str, **changes: Any) -> Path:
    """A random model of `kind` in `folder`: two layers, and weights wide enough for varied output."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    common: dict[str, Any] = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": VOCABULARY,
    }
    common |= {"initializer_range": 0.3, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, **(common | SIZES.get(kind, {}) | changes))
    torch.manual_seed(7)
    AutoModelForCausalLM.from_config(config, attn_implementation="eager").save_pretrained(folder)
    return folder


def model_of(folder: Path) -> Model:
    """The record of a model folder."""
    config = json.loads((folder / "config.json").read_text())
    files = [(folder / name).read_bytes() for name in ("config.json", "model.safetensors")]
    content = hashlib.sha256(b"".join(files)).hexdigest()
    return Model(
        name=folder.name,
        source=ModelSource.FOLDER,
        folder=str(folder),
        revision=content,
        architecture=config["architectures"][0],
        weights=Weights.RANDOM,
        parameters=0,
        weight_bytes=(folder / "model.safetensors").stat().st_size,
        vocabulary_size=config["vocab_size"],
        context_length=256,
    )


def random_prompts(count: int = 20, seed: int = 0) -> list[list[int]]:
    """Prompts of 2 to 29 tokens."""
    generator = random.Random(seed)
    return [[generator.randrange(3, VOCABULARY) for _ in range(generator.randrange(2, 30))] for _ in range(count)]


def transformers_generate(
    folder: Path, prompts: Sequence[Sequence[int]], new_tokens: int, batch: int
) -> list[list[int]]:
    """What transformers' own `generate` makes of the prompts in fp32, padded on the left to batches."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    output = []
    for first in range(0, len(prompts), batch):
        rows = prompts[first : first + batch]
        longest = max(map(len, rows))
        ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        made = module.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=new_tokens,
            eos_token_id=None,
            pad_token_id=0,
        )
        output += made[:, longest:].tolist()
    return output


def transformers_log_probabilities(folder: Path, rows: Sequence[Sequence[int]]) -> list[list[float]]:
    """Natural logarithm of the probability of each token after a row's first, from one forward pass in fp32."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found = []
    for row in rows:
        with torch.no_grad():
            every = module(input_ids=torch.tensor([list(row)])).logits[0, :-1].double().log_softmax(-1)
        found.append([every[i, token].item() for i, token in enumerate(row[1:])])
    return found


def closest_calls(
    folder: Path, prompts: Sequence[Sequence[int]], expected: Sequence[list[int]], got: Sequence[list[int]]
) -> list[float]:
    """For each row that differs: how much less likely than its own choice transformers finds the other (nats)."""
    gaps = []
    for prompt, theirs, ours in zip(prompts, expected, got, strict=True):
        at = next((i for i, (t, o) in enumerate(zip(theirs, ours, strict=True)) if t != o), None)
        if at is not None:
            rows = [[*prompt, *theirs[:at], token] for token in (theirs[at], ours[at])]
            own, other = (values[-1] for values in transformers_log_probabilities(folder, rows))
            gaps.append(own - other)
    return gaps


def session_generate(
    session: Session, prompts: Sequence[Sequence[int]], new_tokens: int, batch: int
) -> list[list[int]]:
    """The same from a session."""
    output: list[list[int]] = []
    for first in range(0, len(prompts), batch):
        steps = [step.tokens for step in session.generate(prompts[first : first + batch], new_tokens)]
        output += np.array(steps).T.tolist()
    return output
