"""What the compared attentions share: rotated queries and keys in, one vector for each token out."""

from __future__ import annotations

import torch.nn.functional as F
from fma_training.attention import FmaAttention
from fma_training.config import FmaConfig
from fma_training.plan import SequencePlan
from torch import Tensor


class TokenAttention(FmaAttention):
    """Attention among the n tokens of a sequence, without the padding to whole blocks."""

    def __init__(self, config: FmaConfig, layer: int) -> None:
        super().__init__(config, layer, level_bias_columns=0)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Tensor:
        shared = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(shared, 1) for x in (key, value))
        query, key, value = (x[:, :, : plan.length] for x in self.forms(query, key, value, plan))
        out = self.tokens(query, key, value, plan)
        return self.query_blocks(F.pad(out, (0, 0, 0, -plan.length % plan.settings.group_size)))

    def forms(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, H, N, d] as they meet: rotated."""
        return plan.turns.near(query), plan.turns.near(key), value

    def tokens(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Tensor:
        """[B, H, n, d] of queries, keys and values of the same shape."""
        raise NotImplementedError
