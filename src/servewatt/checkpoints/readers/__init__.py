"""One function an architecture, from its config.json to a `DecoderShape`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from servewatt.checkpoints.config import Config, without_nulls
from servewatt.checkpoints.decoder import DecoderShape
from servewatt.checkpoints.readers import published, recent
from servewatt.errors import InputError, RefusedError

READERS: dict[str, Callable[[Config], DecoderShape]] = {
    "BloomForCausalLM": published.bloom,
    "CodeGenForCausalLM": published.codegen,
    "GPT2LMHeadModel": published.gpt2,
    "GPTBigCodeForCausalLM": published.gpt_bigcode,
    "GPTNeoXForCausalLM": published.gpt_neox,
    "Gemma2ForCausalLM": recent.gemma2,
    "Gemma3ForCausalLM": recent.gemma3,
    "GemmaForCausalLM": published.gemma,
    "GraniteForCausalLM": recent.granite,
    "GraniteMoeHybridForCausalLM": recent.granite_moe_hybrid,
    "LlamaForCausalLM": published.llama,
    "MistralForCausalLM": recent.mistral,
    "Olmo2ForCausalLM": recent.olmo2,
    "Phi3ForCausalLM": recent.phi3,
    "PhiForCausalLM": published.phi,
    "Qwen2ForCausalLM": recent.qwen2,
    "Qwen3ForCausalLM": recent.qwen3,
    "SmolLM3ForCausalLM": recent.smollm3,
    "StableLmForCausalLM": recent.stablelm,
    "Starcoder2ForCausalLM": recent.starcoder2,
}
"""Name of the architecture -> its reader. What a file leaves out is what transformers takes."""


def decoder_shape(config: Config, architecture: str, where: str) -> DecoderShape:
    """The decoder that a config.json describes; `where` says whose it is, for the messages.

    Fields that are null count as absent. RefusedError for an architecture without reader and for a field without which
    nothing can be told, InputError for numbers that make no decoder.
    """
    reader = READERS.get(architecture)
    if reader is None:
        raise RefusedError(f"{where}: no description of {architecture}", "use engine torch")
    try:
        shape = reader(without_nulls(config))
    except RefusedError as error:
        raise RefusedError(f"{where}: {error.message}", error.hint) from error
    except KeyError as error:
        raise RefusedError(f"{where}: config.json lacks {error}", "use engine torch, which knows defaults") from error
    _check(shape, where)
    # A window as long as the context hides nothing.
    windows = tuple(None if window is None or window >= shape.context else window for window in shape.windows)
    return replace(shape, windows=windows if any(windows) else ())


def _check(shape: DecoderShape, where: str) -> None:
    """InputError for sizes that do not go together."""

    def wrong(what: str) -> InputError:
        return InputError(f"{where}: {what}", "mend config.json")

    if shape.heads % shape.kv_heads:
        raise wrong(f"{shape.heads} query heads do not share {shape.kv_heads} heads of keys and values evenly")
    for name, each in (("layer_types", shape.windows), ("no_rope_layers", shape.rotary_by_layer)):
        if each and len(each) != shape.layers:
            raise wrong(f"{name} in config.json tells of {len(each)} layers, num_hidden_layers of {shape.layers}")
    for rotary in shape.rotaries:
        if rotary.size > shape.head_size:
            raise wrong(f"{rotary.size} components of a head rotate, it has {shape.head_size}")
        for name, factors in (("short_factor", rotary.short_factors), ("long_factor", rotary.long_factors)):
            if rotary.kind == "longrope" and len(factors) != rotary.size // 2:
                raise wrong(f"{name} in config.json has {len(factors)} numbers, the heads {rotary.size // 2}")
