"""Sparse attention by fixed lists of tokens, one for each block of m queries, for decoders.

`fixed`: a block itself, and the last tokens of every earlier block (Child and others, arXiv 1904.10509, "fixed"
with both parts in one softmax): O(n² / m).
`bigbird`: the own and the previous block, the first blocks, and blocks drawn at random from the past, other ones in
each layer (Zaheer and others, arXiv 2007.14062, with the past alone in view): O(n).
"""

from __future__ import annotations

import torch
from fma_training.config import FmaConfig
from fma_training.plan import SequencePlan, hidden_bias
from fma_training.softmax import Part, attend
from torch import Tensor

from .tokens import TokenAttention


class ListedAttention(TokenAttention):
    """Each block of m queries attends to the tokens that a list names, as far as they are not in its future."""

    def lists(self, blocks: int, m: int) -> Tensor:
        """Positions [blocks, c], each at most once in a row; -1 where there is nothing."""
        raise NotImplementedError

    def tokens(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Tensor:
        m = plan.settings.group_size
        lists = self.lists(plan.blocks, m).to(query.device)
        position = torch.arange(plan.blocks * m, device=query.device).view(-1, m, 1)
        queries = query.unflatten(2, (-1, m)).unsqueeze(3)  # a decoder's sequence is whole blocks

        def some(blocks: slice) -> Tensor:
            listed = lists[blocks]
            keys, values = (x[:, :, listed.clamp(min=0)] for x in (key, value))
            hidden = (listed[:, None] < 0) | (listed[:, None] > position[blocks])
            return attend([Part(queries[:, :, blocks], keys, values, hidden_bias(hidden)[:, None])])[0]

        return torch.cat(plan.chunked(some, plan.blocks), 2).flatten(2, 4)


class FixedAttention(ListedAttention):
    def __init__(self, config: FmaConfig, layer: int, columns: int) -> None:
        super().__init__(config, layer)
        self.columns = columns

    def lists(self, blocks: int, m: int) -> Tensor:
        start = torch.arange(blocks)[:, None] * m
        last = (torch.arange(1, blocks)[:, None] * m - torch.arange(1, self.columns + 1)).flatten()
        return torch.cat([start + torch.arange(m), torch.where(last < start, last, -1)], 1)


class BigBirdAttention(ListedAttention):
    def __init__(self, config: FmaConfig, layer: int, first_blocks: int, random_blocks: int) -> None:
        super().__init__(config, layer)
        self.layer, self.first_blocks, self.random_blocks = layer, first_blocks, random_blocks

    def lists(self, blocks: int, m: int) -> Tensor:
        listed = torch.full((blocks, 2 + self.first_blocks + self.random_blocks), -1)
        generator = torch.Generator().manual_seed(self.layer)
        for block in range(blocks):
            draws = torch.randperm(max(0, block - 1 - self.first_blocks), generator=generator)
            always = {block, block - 1, *range(self.first_blocks)}
            seen = sorted(b for b in always if 0 <= b <= block)
            seen += (draws[: self.random_blocks] + self.first_blocks).tolist()
            listed[block, : len(seen)] = torch.tensor(seen)
        tokens = listed[:, :, None] * m + torch.arange(m)
        return torch.where(listed[:, :, None] < 0, -1, tokens).flatten(1)
