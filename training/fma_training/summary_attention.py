"""Attention to learned summaries, for decoders and for encoders whose tokens use their own queries.

Shapes as in attention.py; c blocks of a chunk, F listed far-field summaries per block, s sink tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import FmaAttention
from .config import FmaConfig
from .downsample import Downsample
from .layout import far_slots, near_offsets
from .plan import SequencePlan, hidden_bias
from .softmax import Part, attend

BlocksPart = Callable[[slice], Part]  # a part of the lists of some blocks


class SummaryAttention(FmaAttention):
    """Blocks of m queries against one shared list of keys each."""

    def __init__(self, config: FmaConfig, layer: int, level_bias_columns: int) -> None:
        super().__init__(config, layer, level_bias_columns)
        self.k_downsample = Downsample(config)
        self.v_downsample = Downsample(config)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Tensor:
        parts = [self.near_part(query, key, value, plan), *self._far_parts(query, key, value, plan)]
        if self.config.fma.sink_tokens:
            parts.append(self._sink_part(query, key, value, plan))
        return torch.cat(plan.chunked(lambda blocks: attend([part(blocks) for part in parts])[0], plan.blocks), 2)

    def near_part(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> BlocksPart:
        queries = self.query_blocks(plan.turns.near(query))
        keys, values = self._near_groups(plan.turns.near(key)), self._near_groups(value)

        def part(blocks: slice) -> Part:
            key, value = self._near_list(keys, blocks), self._near_list(values, blocks)
            return Part(queries[:, :, blocks], key, value, plan.near_bias(blocks))

        return part

    def _near_groups(self, x: Tensor) -> Tensor:
        """Fine groups [B, K, G + 1 or 2, m, d] of keys or values, with zeros where a neighbour is missing."""
        first, last = near_offsets(self.config.fma)
        return F.pad(x.unflatten(2, (-1, self.config.fma.group_size)), (0, 0, 0, 0, -first, last))

    def _near_list(self, groups: Tensor, blocks: slice) -> Tensor:
        """The neighbours of every block [B, K, c, near * m, d]; they begin at index b of `groups` for block b."""
        first, last = near_offsets(self.config.fma)
        return torch.cat([groups[:, :, blocks.start + i : blocks.stop + i] for i in range(last - first + 1)], 3)

    def _sink_part(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> BlocksPart:
        """The first s tokens, listed by every block."""
        sinks = self.config.fma.sink_tokens
        queries = self.query_blocks(plan.turns.sink_query(query))
        keys, values = plan.turns.sink_key(key)[:, :, None, :sinks], value[:, :, None, :sinks]

        def part(blocks: slice) -> Part:
            key, value = (x.expand(-1, -1, blocks.stop - blocks.start, -1, -1) for x in (keys, values))
            return Part(queries[:, :, blocks], key, value, plan.sink_bias(blocks))

        return part

    def _far_parts(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> list[BlocksPart]:
        """Levels whose summaries keep their positions, then those treated as max_distance away."""
        if plan.far.levels == 0:
            return []
        keys = _all_groups(self.key_summaries(key, plan))
        values = _all_groups(self.v_downsample.levels(value, plan))
        placed = sum(1 for level in range(1, plan.far.levels + 1) if not self.config.seems_distant(level))
        forms = ((plan.turns.far, slice(0, placed)), (plan.turns.distant, slice(placed, plan.far.levels)))
        return [
            self._far_part(self.query_blocks(turn(query)), keys, values, levels, plan)
            for turn, levels in forms
            if levels.start < levels.stop
        ]

    def _far_part(self, queries: Tensor, keys: Tensor, values: Tensor, levels: slice, plan: SequencePlan) -> BlocksPart:
        """The listed summaries of some levels, counted from 0."""
        slots, rank = far_slots(self.config.fma), self.config.fma.rank
        listed = slice(levels.start * slots, levels.stop * slots)
        entries = slice(listed.start * rank, listed.stop * rank)

        def part(blocks: slice) -> Part:
            index = plan.far.group_index[blocks, listed]
            hidden = ~plan.far.visible[blocks, entries]
            bias = self.far_bias(plan.far.level[entries], plan).unsqueeze(1) + hidden_bias(hidden)[:, None, None]
            return Part(queries[:, :, blocks], take_groups(keys, index), take_groups(values, index), bias)

        return part

    def key_summaries(self, key: Tensor, plan: SequencePlan) -> list[Tensor]:
        """By level: summaries [B, K, groups, p, d] in the form in which they are listed."""
        levels = self.k_downsample.levels(key, plan)
        return [turn(y.flatten(2, 3)).view_as(y) for turn, y in zip(plan.turns.summaries, levels)]


def take_groups(summaries: Tensor, index: Tensor) -> Tensor:
    """Lists [B, K, rows, slots * p, d] of summaries [B, K, groups, p, d] by group [rows, slots]."""
    listed = summaries.index_select(2, index.flatten())
    return listed.unflatten(2, index.shape).flatten(3, 4)


def _all_groups(levels: list[Tensor]) -> Tensor:
    """A group of zeros, then the groups of all levels, one after the other."""
    zeros = torch.zeros_like(levels[0][:, :, :1])
    return torch.cat([zeros, *levels], 2)
