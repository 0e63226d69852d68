"""What a pretrained decoder is, wherever it comes from, and the tensors that it must have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .fields import Fields
from .refusal import refusal
from .rope import RopeScaling

# The ranges of our config.json (docs/model.md).
MAX_VOCAB, MAX_HIDDEN, MAX_INNER, MAX_LAYERS, MAX_HEADS, MAX_HEAD_DIM = 1 << 24, 1 << 16, 1 << 20, 1024, 1024, 1024
MAX_LENGTH = 1 << 40


@dataclass(frozen=True)
class Decoder:
    """Sizes and mathematics; letters as in docs/model.md."""

    architecture: str  # its name where it comes from
    vocab_size: int  # V
    hidden_size: int  # D
    intermediate_size: int  # F
    num_layers: int
    num_heads: int  # H
    num_kv_heads: int  # K
    head_dim: int  # d
    max_length: int  # tokens that it is made for
    norm_eps: float
    rope_theta: float
    scaling: RopeScaling
    tied: bool
    input_biases: bool = False  # of the q, k and v projections
    output_bias: bool = False  # of the o projection
    mlp_bias: bool = False
    qk_norm: bool = False
    window: int | None = None  # how far back every layer looked in training, when that is less than max_length
    layers_without_rope: list[int] = field(default_factory=list)
    bos: list[int] = field(default_factory=list)
    eos: list[int] = field(default_factory=list)

    @property
    def attention_bias(self) -> bool:
        return self.input_biases or self.output_bias

    @property
    def trained_distance(self) -> int:
        """How far back attention looked in training, as far as the source tells."""
        return min(self.max_length, self.window or self.max_length)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """All tensors of our checkpoint."""
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, self.hidden_size),
            "model.norm.weight": (self.hidden_size,),
        }
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden_size)
        for layer in range(self.num_layers):
            shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in self._layer_shapes()}
        return shapes

    def _layer_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        width, inner, d = self.hidden_size, self.intermediate_size, self.head_dim
        linear = {"q": (self.num_heads * d, width), "k": (self.num_kv_heads * d, width)}
        linear |= {"v": linear["k"], "o": (width, self.num_heads * d)}
        for name, shape in linear.items():
            yield f"self_attn.{name}_proj.weight", shape
            if self.attention_bias:
                yield f"self_attn.{name}_proj.bias", shape[:1]
        for name, shape in (("gate", (inner, width)), ("up", (inner, width)), ("down", (width, inner))):
            yield f"mlp.{name}_proj.weight", shape
            if self.mlp_bias:
                yield f"mlp.{name}_proj.bias", shape[:1]
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{name}.weight", (width,)
        if self.qk_norm:
            yield "self_attn.q_norm.weight", (d,)
            yield "self_attn.k_norm.weight", (d,)


@dataclass(frozen=True)
class SizeKeys:
    """Where a source keeps the sizes."""

    hidden: str
    inner: str
    layers: str
    heads: str
    kv_heads: str
    head_dim: str
    length: str
    eps: str


@dataclass(frozen=True)
class Sizes:
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_length: int
    norm_eps: float


def read_sizes(fields: Fields, keys: SizeKeys, head_dim: int | None = None) -> Sizes:
    """`head_dim` is the architecture's when the source names none; None: hidden / heads."""
    hidden = fields.integer(keys.hidden, 1, MAX_HIDDEN)
    heads = fields.integer(keys.heads, 1, MAX_HEADS)
    kv_heads = fields.integer(keys.kv_heads, 1, MAX_HEADS, heads)
    if heads % kv_heads:
        raise fields.refuse(keys.kv_heads, str(kv_heads), f"a divisor of {heads} heads")
    if fields.get(keys.head_dim) is None and head_dim is None and hidden % heads:
        allowed = f'a divisor of the width ({hidden}), or "{keys.head_dim}" beside it'
        raise fields.refuse(keys.heads, str(heads), allowed)
    width = fields.integer(keys.head_dim, 1, MAX_HEAD_DIM, head_dim or hidden // heads)
    if width % 2 or width > MAX_HEAD_DIM:
        raise refusal(f"{fields.where}: head dimension", str(width), f"an even number up to {MAX_HEAD_DIM}")
    return Sizes(
        hidden_size=hidden,
        intermediate_size=fields.integer(keys.inner, 1, MAX_INNER),
        num_layers=fields.integer(keys.layers, 1, MAX_LAYERS),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=width,
        max_length=fields.integer(keys.length, 1, MAX_LENGTH),
        norm_eps=fields.number(keys.eps, 0, 1),
    )
