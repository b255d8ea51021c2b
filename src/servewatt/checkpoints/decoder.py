"""What a decoder-only transformer computes, but for its weights: the one description that engines read.

`checkpoints/readers.py` makes it from a config.json; names of tensors are the exporters' matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from servewatt.checkpoints.rotary import DEFAULT, Rotary


class Norm(StrEnum):
    """How activations are normalised: LayerNorm with weight and bias, or root mean square with weight."""

    LAYER = "layer"
    RMS = "rms"


class NormPlacement(StrEnum):
    """Where a layer's two halves (attention, feed-forward layer) are normalised."""

    BEFORE = "before"
    """Their input, as in Llama."""
    AROUND = "around"
    """Input and output, as in Gemma 2."""
    AFTER = "after"
    """Their output, as in OLMo 2."""


class QueryKeyNorm(StrEnum):
    """How queries and keys are normalised before they rotate."""

    NONE = "none"
    HEAD = "head"
    """Each head, all by one weight (Qwen3)."""
    EACH_HEAD = "each head"
    """Each head by a weight of its own (StableLM)."""
    WIDTH = "width"
    """All heads of a token together (OLMo 2)."""


class Activation(StrEnum):
    """The feed-forward layer's non-linear function."""

    GELU = "gelu"
    """With the error function."""
    GELU_TANH = "gelu_tanh"
    GELU_SIGMOID = "gelu_sigmoid"
    SILU = "silu"
    RELU = "relu"
    OTHER = "other"
    """One that transformers alone may have; `DecoderShape.activation_name` names it."""


class Feature(StrEnum):
    """What not every engine computes; the text completes "ENGINE has no ..."."""

    QUERY_KEY_NORM_HEAD = "norms of queries and keys"
    QUERY_KEY_NORM_EACH = "norms of each head's queries and keys"
    QUERY_KEY_NORM_WIDTH = "norms of all heads' queries and keys together"
    NORM_AROUND = "norms before and after attention"
    NORM_AFTER = "norms after attention alone"
    WINDOW = "attention over a sliding window"
    ATTENTION_SOFT_CAP = "soft cap of attention scores"
    LOGIT_SOFT_CAP = "soft cap of logits"
    MULTIPLIERS = "multipliers of residuals and logits"
    UNROTATED_LAYERS = "layers without rotation among others with it"
    NO_POSITIONS = "decoder without any positions"
    ROTARY_BY_LAYER = "rotary embeddings of several kinds"
    ROTARY_PARTIAL = "rotation of a part of each head"
    ROTARY_INTERLEAVED = "rotation of neighbouring components"
    ROTARY_LINEAR = "rotary embeddings of type 'linear'"
    ROTARY_LLAMA3 = "rotary embeddings of type 'llama3'"
    ROTARY_YARN = "rotary embeddings of type 'yarn'"
    ROTARY_DYNAMIC = "rotary embeddings of type 'dynamic'"
    ROTARY_LONGROPE = "rotary embeddings of type 'longrope'"
    ROTARY_OTHER = "rotary embeddings of this type"
    GATED_LAYER_NORM = "gated feed-forward layer after LayerNorm"
    CROSS_ATTENTION = "cross-attention"
    BIDIRECTIONAL = "bidirectional attention"
    RESIDUAL_AFTER_NORM = "residuals taken after the norm"


_ROTARY_FEATURES = {
    "linear": Feature.ROTARY_LINEAR,
    "llama3": Feature.ROTARY_LLAMA3,
    "yarn": Feature.ROTARY_YARN,
    "dynamic": Feature.ROTARY_DYNAMIC,
    "longrope": Feature.ROTARY_LONGROPE,
}
_NORM_FEATURES = {
    QueryKeyNorm.HEAD: Feature.QUERY_KEY_NORM_HEAD,
    QueryKeyNorm.EACH_HEAD: Feature.QUERY_KEY_NORM_EACH,
    QueryKeyNorm.WIDTH: Feature.QUERY_KEY_NORM_WIDTH,
    NormPlacement.AROUND: Feature.NORM_AROUND,
    NormPlacement.AFTER: Feature.NORM_AFTER,
}


@dataclass(frozen=True)
class DecoderShape:
    """A decoder-only transformer but for its weights."""

    architecture: str
    vocabulary: int
    context: int
    """Most tokens a row may have."""
    hidden: int
    inner: int
    """Width of the feed-forward layer."""
    layers: int
    heads: int
    kv_heads: int
    """Heads of keys and values; `heads` is a multiple."""
    head_size: int
    norm: Norm
    epsilon: float
    activation: Activation
    tied: bool
    """Whether the output projection is the embedding."""
    activation_name: str = ""
    """As config.json has it."""
    gated: bool = False
    """Whether the feed-forward layer multiplies the activation by a second projection."""
    parallel: bool = False
    """Whether attention and feed-forward layer read the same input and are added together."""
    one_norm: bool = False
    """Whether a parallel layer's two halves share their norm."""
    rotary: Rotary | None = None
    """None without rotary embedding."""
    rotary_by_layer: tuple[Rotary | None, ...] = ()
    """One for each layer where they differ; empty where `rotary` holds for all."""
    alibi: bool = False
    learned_positions: bool = False
    embedding_norm: bool = False
    embedding_scale: float = 1.0
    norm_offset: float = 0.0
    """Added to the stored weights of norms."""
    norm_placement: NormPlacement = NormPlacement.BEFORE
    query_key_norm: QueryKeyNorm = QueryKeyNorm.NONE
    qkv_bias: bool = False
    """Of queries, keys and values."""
    out_bias: bool = False
    """Of attention's output projection."""
    mlp_bias: bool = False
    head_bias: bool = False
    scaling: float = 1.0
    """Factor of attention scores."""
    scaling_by_layer: bool = False
    """Whether layer n, from 0, divides its scores by n + 1 as well."""
    attention_soft_cap: float | None = None
    """c of the scores' c tanh(x / c)."""
    logit_soft_cap: float | None = None
    residual_scale: float = 1.0
    """Factor of what each half of a layer adds."""
    logit_scale: float = 1.0
    windows: tuple[int | None, ...] = ()
    """Tokens that each layer's attention looks back on, the present one included; None for all, empty if all do."""
    recomputes_longer: bool = False
    """Whether a generation computes the whole row again where longrope's angles change, as transformers does it."""
    beyond: frozenset[Feature] = frozenset()
    """What the file asks for that no field here describes."""

    @property
    def groups(self) -> int:
        """Query heads that share keys and values."""
        return self.heads // self.kv_heads

    @property
    def qkv_size(self) -> int:
        """Queries, keys and values of one token."""
        return (self.heads + 2 * self.kv_heads) * self.head_size

    @property
    def up_size(self) -> int:
        """Outputs of the feed-forward layer's first matrix, the gate's before the others."""
        return self.inner * (2 if self.gated else 1)

    def rotary_of(self, layer: int) -> Rotary | None:
        """The rotary embedding of a layer."""
        return self.rotary_by_layer[layer] if self.rotary_by_layer else self.rotary

    def window_of(self, layer: int) -> int | None:
        """The sliding window of a layer."""
        return self.windows[layer] if self.windows else None

    @property
    def rotaries(self) -> tuple[Rotary, ...]:
        """The rotary embeddings that layers have, each once."""
        each = self.rotary_by_layer or (self.rotary,)
        return tuple(dict.fromkeys(rotary for rotary in each if rotary is not None))

    @property
    def features(self) -> frozenset[Feature]:
        """What an engine has to compute for this decoder, beyond what all of them do."""
        found = set(self.beyond)
        found |= {_NORM_FEATURES[kind] for kind in (self.query_key_norm, self.norm_placement) if kind in _NORM_FEATURES}
        conditions = {
            Feature.WINDOW: any(self.windows),
            Feature.ATTENTION_SOFT_CAP: self.attention_soft_cap is not None,
            Feature.LOGIT_SOFT_CAP: self.logit_soft_cap is not None,
            Feature.MULTIPLIERS: (self.residual_scale, self.logit_scale) != (1.0, 1.0),
            Feature.UNROTATED_LAYERS: bool(self.rotaries) and None in self.rotary_by_layer,
            Feature.NO_POSITIONS: not (self.rotaries or self.alibi or self.learned_positions),
            Feature.ROTARY_BY_LAYER: len(self.rotaries) > 1,
            Feature.GATED_LAYER_NORM: self.gated and self.norm is Norm.LAYER,
        }
        found |= {feature for feature, holds in conditions.items() if holds}
        for rotary in self.rotaries:
            if rotary.kind != DEFAULT:
                found.add(_ROTARY_FEATURES.get(rotary.kind, Feature.ROTARY_OTHER))
            if rotary.size != self.head_size:
                found.add(Feature.ROTARY_PARTIAL)
            if rotary.interleaved:
                found.add(Feature.ROTARY_INTERLEAVED)
        return frozenset(found)
