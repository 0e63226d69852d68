"""Encoders in O(n): summaries of queries attend to far summaries ("Down-sampled queries" of the definition).

Each of a group's p query summaries stands for a share of its tokens. Shares nest, so the softmax over a level's list is
handed down from share to share, and each token merges two parts: the far field of its share, and its near field.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .config import FmaConfig
from .downsample import Downsample
from .plan import SequencePlan, hidden_bias
from .softmax import Part, Partial
from .summary_attention import SummaryAttention, take_groups


class DownsampledQueryAttention(SummaryAttention):
    """Far scores once per share, near scores once per token."""

    def __init__(self, config: FmaConfig, layer: int, level_bias_columns: int) -> None:
        super().__init__(config, layer, level_bias_columns)
        self.q_downsample = Downsample(config)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Tensor:
        near = self.near_part(query, key, value, plan)
        far = self._far_field(query, key, value, plan)

        def some(blocks: slice) -> Tensor:
            own = Partial.of(near(blocks))
            return (own if far is None else own.merge(self._of_tokens(far, blocks))).result()

        return torch.cat(plan.chunked(some, plan.blocks), 2)

    def _far_field(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Partial | None:
        """The softmax over all levels [B, K, R, shares, ...] for the shares of level 1; None when no level is seen."""
        queries = self.query_summaries(query, plan)
        keys, values = self.key_summaries(key, plan), self.v_downsample.levels(value, plan)
        above: Partial | None = None
        for level in range(plan.far.levels, 0, -1):
            own = self._level(level, queries[level - 1], keys[level - 1], values[level - 1], plan)
            above = own if above is None else own.merge(_halves(above, own.total.shape[3]))
        return above

    def query_summaries(self, query: Tensor, plan: SequencePlan) -> list[Tensor]:
        """By level: the query of each share [B, K, groups, R, p, d], in the form that is used with summaries."""
        levels = self.q_downsample.levels(query, plan)
        turned = [turn(y.flatten(2, 3)).view_as(y) for turn, y in zip(plan.turns.summaries, levels)]
        return [y.unflatten(1, (self.config.num_key_value_heads, -1)).transpose(2, 3) for y in turned]

    def _level(self, level: int, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Partial:
        """The softmax over one level's lists [B, K, R, groups * p, ...]."""
        index, visible = plan.level_lists[level - 1]
        entry_level = torch.full((visible.shape[1],), level - 1, device=index.device)

        def some(rows: slice) -> Partial:
            bias = self.far_bias(entry_level, plan).unsqueeze(1) + hidden_bias(~visible[rows])[:, None, None]
            return Partial.of(
                Part(query[:, :, rows], take_groups(key, index[rows]), take_groups(value, index[rows]), bias)
            )

        chunks = plan.chunked(some, query.shape[2])
        whole = Partial(*(torch.cat(columns, 2) for columns in zip(*chunks)))  # [B, K, groups, R, p, ...]
        return whole.map(lambda x: x.transpose(2, 3).flatten(3, 4))

    def _of_tokens(self, shares: Partial, blocks: slice) -> Partial:
        """What the tokens of some blocks [B, K, c, R, m, ...] inherit from the shares of level 1."""
        rank, m = self.config.fma.rank, self.config.fma.group_size

        def inherit(x: Tensor) -> Tensor:
            own = x[:, :, :, blocks.start * rank : blocks.stop * rank]
            return own.repeat_interleave(m // rank, 3).unflatten(3, (-1, m)).transpose(2, 3)

        return shares.map(inherit)


def _halves(shares: Partial, count: int) -> Partial:
    """What the `count` shares of the next finer level inherit: every share has two halves."""
    return shares.map(lambda x: x.repeat_interleave(2, 3)[:, :, :, :count])
