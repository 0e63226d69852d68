"""The near field of FMA and nothing else, O(n)."""

from __future__ import annotations

import torch
from fma_training.config import FmaConfig
from fma_training.plan import SequencePlan
from fma_training.softmax import attend
from fma_training.summary_attention import SummaryAttention
from torch import Tensor, nn


class WindowAttention(SummaryAttention):
    def __init__(self, config: FmaConfig, layer: int) -> None:
        super().__init__(config, layer, level_bias_columns=0)
        self.k_downsample = self.v_downsample = nn.ModuleList()

    def attend(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Tensor:
        near = self.near_part(query, key, value, plan)
        return torch.cat(plan.chunked(lambda blocks: attend([near(blocks)])[0], plan.blocks), 2)
