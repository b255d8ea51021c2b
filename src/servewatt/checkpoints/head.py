"""Whether a checkpoint has an output projection of its own, which its configuration cannot be trusted to tell.

transformers keeps a stored projection that differs from the embedding, whatever `tie_word_embeddings` says, and ties
one that is equal (`PreTrainedModel.tie_weights`); so does every engine here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from servewatt.checkpoints.files import open_file
from servewatt.checkpoints.safetensors import DTYPE_BYTES, Tensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

HEADS = ("lm_head.weight", "embed_out.weight")
"""Names of output projections."""
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
"""Names of token embeddings, behind the prefix of the inner model or without it."""
_CHUNK_ELEMENTS = 1 << 22
_NUMPY_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def own_head(tensors: Mapping[str, Tensor]) -> Tensor | None:
    """The stored output projection; None if none is stored, or it equals the embedding.

    Reads as much of the two as it takes to see a difference.
    """
    head = next((tensors[name] for name in HEADS if name in tensors), None)
    if head is None:
        return None
    embeddings = (t for name, t in tensors.items() if name in _EMBEDDINGS or name.partition(".")[2] in _EMBEDDINGS)
    embedding = next(embeddings, None)
    return head if embedding is None or not _equal(head, embedding) else None


def _equal(first: Tensor, second: Tensor) -> bool:
    import numpy as np

    if first.shape != second.shape:
        return False
    if first.dtype not in _NUMPY_TYPES or second.dtype not in _NUMPY_TYPES:
        return False
    pairs = zip(_chunks(first), _chunks(second), strict=True)
    if first.dtype == second.dtype:
        return all(np.array_equal(one, other) for one, other in pairs)
    return all(np.array_equal(_widened(one, first), _widened(other, second)) for one, other in pairs)


def _chunks(tensor: Tensor) -> Iterator[npt.NDArray[Any]]:
    import numpy as np

    item_bytes = DTYPE_BYTES[tensor.dtype]
    with open_file(tensor.file) as file:
        file.seek(tensor.offset)
        for first in range(0, tensor.elements, _CHUNK_ELEMENTS):
            count = min(_CHUNK_ELEMENTS, tensor.elements - first)
            yield np.frombuffer(file.read(count * item_bytes), _NUMPY_TYPES[tensor.dtype])


def _widened(values: npt.NDArray[Any], tensor: Tensor) -> npt.NDArray[np.float64]:
    """The numbers of a chunk; bf16 is the upper half of fp32."""
    import numpy as np

    if tensor.dtype == "BF16":
        values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype(np.float64)
