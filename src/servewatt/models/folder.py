"""From a folder with config.json and safetensors to the facts of its model, without loading it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from servewatt.checkpoints import architecture as architectures
from servewatt.checkpoints.architecture import Architecture
from servewatt.checkpoints.config import Config
from servewatt.checkpoints.fields import check_fields
from servewatt.checkpoints.files import is_file, read_object, shown
from servewatt.checkpoints.head import HEADS, own_head
from servewatt.checkpoints.safetensors import Tensor, checkpoint_files, read_tensors
from servewatt.errors import InputError, RefusedError
from servewatt.models.digest import FileDigests, combined
from servewatt.models.shape import shape_of
from servewatt.records import Model, ModelSource, Weights

CONFIG_FILE = "config.json"
GENERATION_FILE = "generation_config.json"
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json"),
    *("added_tokens.json", "tokenizer.model", "spiece.model", "vocab.txt"),
)

_FLOATING = ("F64", "F32", "F16", "BF16")
_BUFFERS = frozenset(
    {
        *("causal_mask", "masked_bias", "attn_mask", "attention_mask", "position_ids", "embed_positions"),
        *("inv_freq", "original_inv_freq", "cos_cached", "sin_cached", "cos_cache", "sin_cache"),
    }
)
"""Last parts of the names of masks and tables of positions that checkpoints hold beside the weights."""
_MASK_ENDS = (".attn.bias", ".attention.bias", ".self_attn.bias", ".self_attention.bias")
"""Causal masks under a name that could be a bias; they have four dimensions, which no bias has."""
_MASK_DIMENSIONS = 4


@dataclass(frozen=True)
class _Sizes:
    parameters: int
    weight_bytes: int


def describe(
    folder: Path,
    name: str,
    source: ModelSource,
    *,
    revision: str | None = None,
    seed: int | None = None,
    digests: FileDigests | None = None,
) -> Model:
    """The facts of the model in `folder`, from its configuration and the headers of its weights.

    Without `revision`, a digest of configuration and weights stands in for it, which reads the weights once;
    `digests` remembers it. Raises InputError or RefusedError if the folder cannot be used as it is.
    """
    where = str(folder)
    config = read_object(folder / CONFIG_FILE)
    architecture = architectures.architecture_of(config, where)
    check_fields(config, where)
    vocabulary = architectures.integer(config, architectures.VOCABULARY_KEYS, where)
    context = architectures.integer(config, architectures.CONTEXT_KEYS, where, architecture.default_context)
    files = checkpoint_files(folder)
    tensors = read_tensors(files)
    tied = architectures.tied(config, architecture) and own_head(tensors) is None
    _match(config, architecture, tensors, where, tied=tied)
    sizes = _sizes(tensors, where, tied=tied)
    return Model(
        name=name,
        source=source,
        folder=str(folder.resolve()),
        revision=revision or combined((folder / CONFIG_FILE, *files), digests or FileDigests(None)),
        architecture=architecture.name,
        weights=Weights.RANDOM if source is ModelSource.RANDOM else Weights.TRAINED,
        parameters=sizes.parameters,
        weight_bytes=sizes.weight_bytes,
        vocabulary_size=vocabulary,
        context_length=context,
        eos_ids=eos_ids(folder, config, vocabulary),
        seed=seed,
        shape=shape_of(config),
    )


def eos_ids(folder: Path, config: Config, vocabulary: int) -> tuple[int, ...]:
    """End-of-sequence ids from generation_config.json, config.json or the tokenizer, the first that has any.

    Ids outside the vocabulary are left out: some configurations carry the id of the model they were derived from.
    """
    generation = read_object(folder / GENERATION_FILE) if is_file(folder / GENERATION_FILE) else {}
    for stated in (generation.get("eos_token_id"), config.get("eos_token_id")):
        ids = stated if isinstance(stated, list) else [stated]
        inside = {i for i in ids if isinstance(i, int) and not isinstance(i, bool) and 0 <= i < vocabulary}
        if inside:
            return tuple(sorted(inside))
    named = _eos_by_name(folder)
    return (named,) if named is not None and named < vocabulary else ()


def _eos_by_name(folder: Path) -> int | None:
    settings, tokenizer = folder / "tokenizer_config.json", folder / "tokenizer.json"
    if not (is_file(settings) and is_file(tokenizer)):
        return None
    token = read_object(settings).get("eos_token")
    text = token.get("content") if isinstance(token, dict) else token
    added = read_object(tokenizer).get("added_tokens")
    named = [e for e in added if isinstance(e, dict)] if isinstance(added, list) else []
    ids = (entry.get("id") for entry in named if text and entry.get("content") == text)
    return next((i for i in ids if isinstance(i, int) and i >= 0), None)


def _match(config: Config, architecture: Architecture, tensors: dict[str, Tensor], where: str, *, tied: bool) -> None:
    """Raise InputError unless embedding, head and layers are those that the configuration describes."""
    hidden = architectures.integer(config, architectures.HIDDEN_KEYS, where)
    vocabulary = architectures.integer(config, architectures.VOCABULARY_KEYS, where)
    layers = architectures.integer(config, architectures.LAYER_KEYS, where)
    hint = "config.json and the weights belong to different models; get both from one place"
    embedding = _find(tensors, architecture.embedding)
    if embedding is None:
        raise InputError(f"{where}: the weights have no {architecture.embedding} of {architecture.name}", hint)
    expected = [embedding]
    if not tied:
        head = _find(tensors, architecture.head) or _find(tensors, "lm_head.weight")
        if head is None:
            raise InputError(
                f"{where}: the weights have no {architecture.head} of {architecture.name}",
                f"{hint}; if the head is the embedding, config.json must say tie_word_embeddings: true",
            )
        expected.append(head)
    for tensor in expected:
        if tensor.shape != (vocabulary, hidden):
            raise InputError(
                f"{where}: {tensor.name} is {_shape(tensor.shape)}, config.json says {_shape((vocabulary, hidden))}",
                hint,
            )
    for field, default, end in architectures.BIASES.get(architecture.name, ()):
        stated = config.get(field)
        wanted = default if stated is None else stated
        if wanted is not any(name.endswith(end) for name in tensors):
            has = "no" if wanted else "a"
            raise InputError(f"{where}: {field} is {str(wanted).lower()}, the weights have {has} *{end}", hint)
    numbered = re.compile(rf"(?:^|\.){re.escape(architecture.layers)}\.(\d+)\.")
    stored = {int(found.group(1)) for name in tensors if (found := numbered.search(name))}
    if stored != set(range(layers)):
        raise InputError(f"{where}: the weights have {len(stored)} layers, config.json says {layers}", hint)


def _sizes(tensors: dict[str, Tensor], where: str, *, tied: bool) -> _Sizes:
    counted = [t for t in tensors.values() if not _is_buffer(t) and not (tied and t.name in HEADS)]
    strange = next((t for t in counted if t.dtype not in _FLOATING), None)
    if strange is not None:
        raise RefusedError(
            f"{where}: {shown(strange.name)} is {strange.dtype}: the weights are already quantised",
            "use the full-precision checkpoint; the configuration decides the precision",
        )
    return _Sizes(sum(t.elements for t in counted), sum(t.size_bytes for t in counted))


def _is_buffer(tensor: Tensor) -> bool:
    mask = tensor.name.endswith(_MASK_ENDS) and len(tensor.shape) == _MASK_DIMENSIONS
    return mask or tensor.name.rpartition(".")[2] in _BUFFERS


def _find(tensors: dict[str, Tensor], name: str) -> Tensor | None:
    """The tensor called `name`, with or without the prefix of the inner model."""
    found = tensors.get(name)
    return found or next((t for key, t in tensors.items() if key.partition(".")[2] == name), None)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a scalar"
