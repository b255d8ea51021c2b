"""The one place that builds a transformers module from a model folder."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from servewatt.checkpoints.config import read_config
from servewatt.checkpoints.files import shown
from servewatt.engines.shared.file_pages import dropping_file_pages
from servewatt.engines.shared.host import cpu_threads
from servewatt.engines.shared.weights import stored_tensors
from servewatt.errors import InputError, RefusedError, ServewattError, UnavailableError, means_out_of_memory
from servewatt.records import Configuration, Model, Precision, Provider

if TYPE_CHECKING:
    import torch


def torch_dtype(precision: Precision) -> torch.dtype:
    """The torch type of a floating precision; RefusedError for the others."""
    import torch

    dtypes = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}
    if precision not in dtypes:
        raise RefusedError(f"precision {precision.value} is not a floating type", "use fp32, bf16 or fp16")
    return dtypes[precision]


def dtype_name(dtype: torch.dtype) -> str:
    """`fp32` for torch.float32, and so on; torch's own name for the rest."""
    names = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}
    plain = str(dtype).removeprefix("torch.")
    return names.get(plain, plain)


def prepare_torch(configuration: Configuration) -> torch.device:
    """Set threads and arithmetic for the configuration; the device it runs on.

    fp32 means fp32: TF32, which CUDA devices would use for speed, is switched off. UnavailableError without a GPU.
    """
    import torch

    torch.set_num_threads(cpu_threads(configuration))
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if configuration.provider is Provider.CPU:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        if built is None:
            raise UnavailableError(
                f"{configuration.key}: this torch ({torch.__version__}) is built without CUDA",
                "install torch with CUDA (see https://pytorch.org/get-started), or use provider cpu",
            )
        raise UnavailableError(
            f"{configuration.key}: torch finds no CUDA device",
            f"check `nvidia-smi` and that the driver supports CUDA {built}, or use provider cpu",
        )
    # cuDNN's attention makes a plan for every length of the cache, 35 ms each: a generation would be all planning.
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.cuda.reset_peak_memory_stats()
    return torch.device("cuda", torch.cuda.current_device())


def load_module(model: Model, precision: Precision, device: torch.device, attention: str = "sdpa") -> Any:
    """The causal language model of `model.folder` in evaluation mode, its weights in `precision` on `device`.

    The module is built without memory and filled from memory-mapped safetensors; remote code and pickles are never
    touched. `attention` names an attention implementation; architectures without sdpa get `eager`. InputError for
    broken or incomplete weights, RefusedError for an architecture that transformers does not know.
    """
    config = read_config(model.folder)
    stored_tensors(model.folder)
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    if "auto_map" in config:
        raise RefusedError(f"{model.name}: its code is remote code, which is never run", "use a standard architecture")
    logging.disable_progress_bar()
    logging.set_verbosity_error()

    def load(implementation: str) -> tuple[Any, dict[str, Any]]:
        with dropping_file_pages(".safetensors"):
            loaded: tuple[Any, dict[str, Any]] = AutoModelForCausalLM.from_pretrained(
                model.folder,
                dtype=torch_dtype(precision),
                attn_implementation=implementation,
                trust_remote_code=False,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
        return loaded

    try:
        try:
            module, report = load(attention)
        except (ValueError, KeyError) as error:
            if not _refuses_attention(error, attention):
                raise
            module, report = load("eager")
    except SafetensorError as error:
        raise InputError(f"{model.name}: broken safetensors: {error}", "download the model again") from error
    except (ValueError, KeyError) as error:
        raise RefusedError(f"{model.name}: transformers cannot load it: {_first_line(error)}") from error
    except (OSError, RuntimeError) as error:
        if means_out_of_memory(str(error)):
            raise
        raise InputError(f"{model.name}: cannot be loaded: {_first_line(error)}", "check the model folder") from error
    except (ServewattError, MemoryError):
        raise
    except Exception as error:  # transformers' error for a field of the wrong type has no class of its own
        reason = shown(" ".join(str(error).split()) or type(error).__name__, 200)
        raise InputError(f"{model.name}: transformers cannot build it: {reason}", "mend config.json") from error
    missing = sorted(report.get("missing_keys", ())) + sorted(str(k) for k in report.get("mismatched_keys", ()))
    if missing:
        raise InputError(
            f"{model.name}: {len(missing)} weights are missing or misshapen, first {missing[0]!r}",
            "the folder's config.json and safetensors do not belong together",
        )
    with dropping_file_pages(".safetensors"):
        return module.to(device).eval().requires_grad_(False)


def _refuses_attention(error: ValueError | KeyError, attention: str) -> bool:
    """Whether transformers says that the architecture has no attention of this name.

    Most architectures are checked beforehand; those with a table of their own attention classes look the name up in it.
    """
    if isinstance(error, KeyError):
        return error.args == (attention,)
    return "scaled_dot_product_attention" in str(error) or "attn_implementation" in str(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def held_weights(tensors: Iterable[torch.Tensor]) -> tuple[tuple[str, int], ...]:
    """(dtype, bytes) of tensors, those that share memory counted once; single numbers are not weights."""
    sizes: dict[str, int] = {}
    seen: set[int] = set()
    for tensor in tensors:
        place = id(tensor) if tensor.is_mkldnn else tensor.data_ptr()
        if tensor.dim() > 0 and place not in seen:
            seen.add(place)
            name = dtype_name(tensor.dtype)
            sizes[name] = sizes.get(name, 0) + tensor.numel() * tensor.element_size()
    return tuple(sorted(sizes.items()))


def held_devices(tensors: Iterable[torch.Tensor]) -> tuple[tuple[str, int], ...]:
    """(device type, number of tensors there); single numbers, which PyTorch keeps on the host, are not counted."""
    counts = Counter(tensor.device.type for tensor in tensors if tensor.dim() > 0)
    return tuple(sorted(counts.items()))


def arithmetic_detail() -> tuple[tuple[str, str], ...]:
    """Settings of torch that decide how fp32 is computed, as they stand now."""
    import torch

    return (
        ("matmul_tf32", str(torch.backends.cuda.matmul.allow_tf32).lower()),
        ("cudnn_tf32", str(torch.backends.cudnn.allow_tf32).lower()),
        ("float32_matmul_precision", torch.get_float32_matmul_precision()),
        ("cudnn_attention", str(torch.backends.cuda.cudnn_sdp_enabled()).lower()),
    )


def tf32_settings() -> tuple[str, ...]:
    """Those of torch's settings that let fp32 be multiplied in TF32, as they stand now."""
    import torch

    settings = (("matmul_tf32", torch.backends.cuda.matmul), ("cudnn_tf32", torch.backends.cudnn))
    return tuple(name for name, backend in settings if backend.allow_tf32)


def takes_position_ids(module: torch.nn.Module) -> bool:
    """Whether the model is told positions; Bloom, for one, derives them from the mask."""
    return "position_ids" in inspect.signature(module.forward).parameters
