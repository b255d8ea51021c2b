"""From a model folder to a CTranslate2 model, straight from the safetensors.

CTranslate2's own converters want transformers and torch, and miss names of transformers 5; its specifications, which
say what a model file must hold, need neither. Tokens are called by their ids ("0", "1" ...), so that ids go in and out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from servewatt.checkpoints.decoder import DecoderShape
from servewatt.engines.ctranslate2.architectures import BUILDERS, Parts, check_shape
from servewatt.engines.ctranslate2.weights import Checkpoint, Writer
from servewatt.engines.shared.decoder import decoder_of
from servewatt.engines.shared.file_pages import dropping_file_pages
from servewatt.engines.shared.host import metadata_version
from servewatt.engines.shared.weights import stored_tensors
from servewatt.errors import RefusedError
from servewatt.records import Model

EXPORT_FORMAT = "2"
"""Changes when this package would write another model from the same versions of everything else."""


@dataclass(frozen=True)
class ModelType:
    """What a model file holds: matrices, and the floating type of everything else."""

    floating: str
    """fp32, bf16 or fp16."""
    int8_matrices: bool = False

    @property
    def name(self) -> str:
        """CTranslate2's name of the compute type that runs such a file without converting it."""
        plain = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[self.floating]
        return f"int8_{plain}" if self.int8_matrices else plain


def export_key(model: Model, model_type: ModelType) -> tuple[str, ...]:
    """Everything the written model depends on."""
    return (model.revision, model_type.name, EXPORT_FORMAT, f"ctranslate2 {metadata_version('ctranslate2')}")


def check_architecture(model: Model) -> DecoderShape:
    """The model's decoder. RefusedError if it, or something that its configuration asks for, cannot be written."""
    if model.architecture not in BUILDERS:
        raise RefusedError(
            f"{model.name}: engine ctranslate2 does not run {model.architecture}",
            f"it runs {', '.join(sorted(BUILDERS))}",
        )
    shape = decoder_of(model)
    check_shape(shape, model.name)
    return shape


def export(model: Model, model_type: ModelType, folder: Path) -> None:
    """Write `model.bin`, `config.json` and `vocabulary.json` into `folder`."""
    shape = check_architecture(model)
    build, prefix = BUILDERS[model.architecture]
    checkpoint = Checkpoint(model.name, stored_tensors(model.folder), prefix)
    with dropping_file_pages(".safetensors"):
        spec = build(Parts(shape, checkpoint, Writer(model_type.floating, model_type.int8_matrices)))
        spec.register_vocabulary([str(i) for i in range(shape.vocabulary)])
        # Names that must be in the vocabulary. None has an effect: generation is given no end token.
        spec.config.unk_token = spec.config.bos_token = spec.config.eos_token = "0"
        spec.validate()
        # Without a type this only finds the variables that are one, such as tied embeddings.
        spec.optimize()
        spec.save(str(folder))
