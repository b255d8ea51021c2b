"""Present-day small code models known by name, with the exact shapes of their published configurations.

Counts are those that the models' pages give for their safetensors, every stored tensor once. No revision is pinned: the
main branch is resolved at download, and every run records its commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servewatt.models.catalogue_entry import CatalogueEntry

_QWEN_FIM = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
_STARCODER_FIM = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
_DEEPSEEK_FIM = ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>")


def _config(  # noqa: PLR0913  the fields that all these files have
    architecture: str,
    model_type: str,
    *,
    vocabulary: int,
    context: int,
    hidden: int,
    inner: int,
    layers: int,
    heads: int,
    kv_heads: int,
    tied: bool,
    **more: object,
) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": inner,
        "max_position_embeddings": context,
        "model_type": model_type,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "tie_word_embeddings": tied,
        "use_cache": True,
        "vocab_size": vocabulary,
        **more,
    }


def _qwen2(*, hidden: int, inner: int, layers: int, heads: int) -> dict[str, Any]:
    return _config(
        "Qwen2ForCausalLM",
        "qwen2",
        vocabulary=151936,
        context=32768,
        hidden=hidden,
        inner=inner,
        layers=layers,
        heads=heads,
        kv_heads=2,
        tied=True,
        bos_token_id=151643,
        eos_token_id=151643,
        rms_norm_eps=1e-06,
        rope_theta=1000000.0,
        use_sliding_window=False,
    )


def _qwen3(*, hidden: int, inner: int, layers: int, heads: int) -> dict[str, Any]:
    return _config(
        "Qwen3ForCausalLM",
        "qwen3",
        vocabulary=151936,
        context=40960,
        hidden=hidden,
        inner=inner,
        layers=layers,
        heads=heads,
        kv_heads=8,
        tied=True,
        attention_bias=False,
        bos_token_id=151643,
        eos_token_id=151645,
        head_dim=128,
        rms_norm_eps=1e-06,
        rope_theta=1000000.0,
        use_sliding_window=False,
    )


def _gemma3(*, hidden: int, inner: int, layers: int) -> dict[str, Any]:
    return _config(
        "Gemma3ForCausalLM",
        "gemma3_text",
        vocabulary=262144,
        context=32768,
        hidden=hidden,
        inner=inner,
        layers=layers,
        heads=4,
        kv_heads=1,
        tied=True,
        attention_bias=False,
        bos_token_id=2,
        eos_token_id=1,
        head_dim=256,
        hidden_activation="gelu_pytorch_tanh",
        pad_token_id=0,
        query_pre_attn_scalar=256,
        rms_norm_eps=1e-06,
        rope_local_base_freq=10000.0,
        rope_theta=1000000.0,
        sliding_window=512,
        sliding_window_pattern=6,
    )


_PHI4_LONG = (
    *(1, 1.118320672, 1.250641126, 1.398617824, 1.564103225, 1.74916897, 1.956131817, 2.187582649, 2.446418898),
    *(2.735880826, 3.059592084, 3.421605075, 3.826451687, 4.279200023, 4.785517845, 5.351743533, 5.984965424),
    *(6.693110555, 7.485043894, 8.370679318, 9.36110372, 10.4687158, 11.70738129, 13.09260651, 14.64173252),
    *(16.37415215, 18.31155283, 20.47818807, 22.90118105, 25.61086418, 28.64115884, 32.03, 32.1, 32.13, 32.23),
    *(32.6, 32.61, 32.64, 32.66, 32.7, 32.71, 32.93, 32.97, 33.28, 33.49, 33.5, 44.16, 47.77),
)
_LLAMA3_SCALING = {
    "factor": 32.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}


def _llama(*, tied: bool, **sizes: Any) -> dict[str, Any]:
    return _config("LlamaForCausalLM", "llama", tied=tied, attention_bias=False, **sizes)


def _entry(
    name: str,
    hub_id: str,
    parameters: int,
    licence: str,
    config: Mapping[str, Any],
    fim: tuple[str, str, str] | None = None,
    *,
    gated: bool = False,
) -> CatalogueEntry:
    architecture = config["architectures"][0]
    return CatalogueEntry(
        name, hub_id, architecture, parameters, float(parameters), licence, gated, config, fim_tokens=fim
    )


PRESENT: dict[str, CatalogueEntry] = {
    e.name: e
    for e in (
        _entry(
            "qwen2.5-coder-0.5b",
            "Qwen/Qwen2.5-Coder-0.5B",
            494_032_768,
            "apache-2.0",
            _qwen2(hidden=896, inner=4864, layers=24, heads=14),
            _QWEN_FIM,
        ),
        _entry(
            "qwen2.5-coder-1.5b",
            "Qwen/Qwen2.5-Coder-1.5B",
            1_543_714_304,
            "apache-2.0",
            _qwen2(hidden=1536, inner=8960, layers=28, heads=12),
            _QWEN_FIM,
        ),
        _entry(
            "qwen2.5-coder-3b",
            "Qwen/Qwen2.5-Coder-3B",
            3_085_938_688,
            "qwen-research",
            _qwen2(hidden=2048, inner=11008, layers=36, heads=16),
            _QWEN_FIM,
        ),
        _entry(
            "qwen3-0.6b",
            "Qwen/Qwen3-0.6B",
            596_049_920,
            "apache-2.0",
            _qwen3(hidden=1024, inner=3072, layers=28, heads=16),
            _QWEN_FIM,
        ),
        _entry(
            "qwen3-1.7b",
            "Qwen/Qwen3-1.7B",
            1_720_574_976,
            "apache-2.0",
            _qwen3(hidden=2048, inner=6144, layers=28, heads=16),
            _QWEN_FIM,
        ),
        _entry(
            "qwen3-4b",
            "Qwen/Qwen3-4B",
            4_022_468_096,
            "apache-2.0",
            _qwen3(hidden=2560, inner=9728, layers=36, heads=32),
            _QWEN_FIM,
        ),
        _entry(
            "starcoder2-3b",
            "bigcode/starcoder2-3b",
            3_030_371_328,
            "bigcode-openrail-m",
            _config(
                "Starcoder2ForCausalLM",
                "starcoder2",
                vocabulary=49152,
                context=16384,
                hidden=3072,
                inner=12288,
                layers=30,
                heads=24,
                kv_heads=2,
                tied=True,
                bos_token_id=0,
                eos_token_id=0,
                norm_epsilon=1e-05,
                rope_theta=999999.4420358813,
                sliding_window=4096,
                use_bias=True,
            )
            | {"hidden_act": "gelu_pytorch_tanh"},
            _STARCODER_FIM,
        ),
        _entry(
            "deepseek-coder-1.3b",
            "deepseek-ai/deepseek-coder-1.3b-base",
            1_346_471_936,
            "deepseek",
            _llama(
                vocabulary=32256,
                context=16384,
                hidden=2048,
                inner=5504,
                layers=24,
                heads=16,
                kv_heads=16,
                tied=False,
                bos_token_id=32013,
                eos_token_id=32014,
                rms_norm_eps=1e-06,
                rope_scaling={"factor": 4.0, "type": "linear"},
                rope_theta=100000,
            ),
            _DEEPSEEK_FIM,
        ),
        _entry(
            "llama-3.2-1b",
            "meta-llama/Llama-3.2-1B",
            1_235_814_400,
            "llama3.2",
            _llama(
                vocabulary=128256,
                context=131072,
                hidden=2048,
                inner=8192,
                layers=16,
                heads=32,
                kv_heads=8,
                tied=True,
                bos_token_id=128000,
                eos_token_id=128001,
                head_dim=64,
                rms_norm_eps=1e-05,
                rope_scaling=_LLAMA3_SCALING,
                rope_theta=500000.0,
            ),
            gated=True,
        ),
        _entry(
            "smollm3-3b",
            "HuggingFaceTB/SmolLM3-3B-Base",
            3_075_098_624,
            "apache-2.0",
            _config(
                "SmolLM3ForCausalLM",
                "smollm3",
                vocabulary=128256,
                context=65536,
                hidden=2048,
                inner=11008,
                layers=36,
                heads=16,
                kv_heads=4,
                tied=True,
                attention_bias=False,
                bos_token_id=128000,
                eos_token_id=128001,
                no_rope_layer_interval=4,
                pad_token_id=128004,
                rms_norm_eps=1e-06,
                rope_theta=5000000.0,
                use_sliding_window=False,
            ),
        ),
        _entry(
            "gemma-3-270m",
            "google/gemma-3-270m",
            268_098_176,
            "gemma",
            _gemma3(hidden=640, inner=2048, layers=18),
            gated=True,
        ),
        _entry(
            "gemma-3-1b",
            "google/gemma-3-1b-pt",
            999_885_952,
            "gemma",
            _gemma3(hidden=1152, inner=6912, layers=26),
            gated=True,
        ),
        _entry(
            "phi-4-mini",
            "microsoft/Phi-4-mini-instruct",
            3_836_021_760,
            "mit",
            _config(
                "Phi3ForCausalLM",
                "phi3",
                vocabulary=200064,
                context=131072,
                hidden=3072,
                inner=8192,
                layers=32,
                heads=24,
                kv_heads=8,
                tied=True,
                attention_bias=False,
                bos_token_id=199999,
                eos_token_id=199999,
                original_max_position_embeddings=4096,
                pad_token_id=199999,
                partial_rotary_factor=0.75,
                rms_norm_eps=1e-05,
                rope_scaling={
                    "long_factor": list(_PHI4_LONG),
                    "short_factor": [1.0] * len(_PHI4_LONG),
                    "type": "longrope",
                },
                rope_theta=10000.0,
                sliding_window=262144,
            ),
        ),
        _entry(
            "granite-3.1-2b",
            "ibm-granite/granite-3.1-2b-base",
            2_533_531_648,
            "apache-2.0",
            _config(
                "GraniteForCausalLM",
                "granite",
                vocabulary=49155,
                context=131072,
                hidden=2048,
                inner=8192,
                layers=40,
                heads=32,
                kv_heads=8,
                tied=True,
                attention_bias=False,
                attention_multiplier=0.015625,
                bos_token_id=0,
                embedding_multiplier=12.0,
                eos_token_id=0,
                logits_scaling=8.0,
                mlp_bias=False,
                pad_token_id=0,
                residual_multiplier=0.22,
                rms_norm_eps=1e-05,
                rope_theta=5000000.0,
            ),
            _STARCODER_FIM,
        ),
        _entry(
            "stable-code-3b",
            "stabilityai/stable-code-3b",
            2_795_443_200,
            "stabilityai-ai-community",
            _config(
                "StableLmForCausalLM",
                "stablelm",
                vocabulary=50304,
                context=16384,
                hidden=2560,
                inner=6912,
                layers=32,
                heads=32,
                kv_heads=32,
                tied=False,
                bos_token_id=0,
                eos_token_id=0,
                layer_norm_eps=1e-05,
                partial_rotary_factor=0.25,
                rope_theta=1000000,
                use_qkv_bias=False,
            ),
            _STARCODER_FIM,
            gated=True,
        ),
        _entry(
            "olmo-2-1b",
            "allenai/OLMo-2-0425-1B",
            1_484_916_736,
            "apache-2.0",
            _config(
                "Olmo2ForCausalLM",
                "olmo2",
                vocabulary=100352,
                context=4096,
                hidden=2048,
                inner=8192,
                layers=16,
                heads=16,
                kv_heads=16,
                tied=False,
                attention_bias=False,
                eos_token_id=100257,
                pad_token_id=100277,
                rms_norm_eps=1e-06,
                rope_theta=500000,
            ),
        ),
    )
}
