"""Every token attends to all tokens (decoders: to all that came before), O(n²)."""

from __future__ import annotations

import torch
from fma_training.plan import SequencePlan, hidden_bias
from fma_training.softmax import Part, attend
from torch import Tensor

from .tokens import TokenAttention


class FullAttention(TokenAttention):
    def tokens(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Tensor:
        position = torch.arange(plan.length, device=query.device)
        m = plan.settings.group_size

        def some(blocks: slice) -> Tensor:
            rows = slice(blocks.start * m, min(blocks.stop * m, plan.length))
            hidden = position > position[rows, None] if plan.settings.causal else torch.zeros_like(position).bool()
            return attend([Part(query[:, :, None, rows], key, value, hidden_bias(hidden))])[0].squeeze(2)

        return torch.cat(plan.chunked(some, plan.blocks), 2)
