"""The attentions that FMA is compared with, by the names that recipes give them.

Each takes a recipe's options and stands where FmaAttention stands in a model; shapes as in fma_training/attention.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fma_training.attention import FmaAttention
from fma_training.config import FmaConfig
from fma_training.model import MakeAttention, fma_attention

from .full import FullAttention
from .linear import LinearAttention
from .listed import BigBirdAttention, FixedAttention
from .nystrom import NystromAttention
from .window import WindowAttention

KINDS: dict[str, Callable[..., FmaAttention]] = {
    "full": FullAttention,
    "window": WindowAttention,
    "linear": LinearAttention,
    "nystrom": NystromAttention,
    "fixed": FixedAttention,
    "bigbird": BigBirdAttention,
}


def make_attention(name: str, options: dict[str, Any]) -> MakeAttention:
    """What makes the layers' attention; `fma` is what the model's own config says."""
    if name == "fma":
        return fma_attention

    def make(config: FmaConfig, layer: int, level_bias_columns: int) -> FmaAttention:
        return KINDS[name](config, layer, **options)

    return make
