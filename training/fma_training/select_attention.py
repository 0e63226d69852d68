"""Attention to selected tokens, and to opened units of the past ("Selected tokens" of the definition).

A group's tokens are chosen by the attention that they received before the group came into view, so blocks go one after
the other. Shapes as in attention.py, but a block's own tensors have no axis of blocks: queries [B, K, R, m, d].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .attention import FmaAttention
from .opened import Archive, Opened
from .plan import SequencePlan
from .selection import FarView, TokenGroup, receive
from .softmax import Part, attend


class BlockQueries(NamedTuple):
    """The queries of one block, in each of the forms that the entries of its list need."""

    near: Tensor
    sinks: Tensor
    far: Tensor
    distant: Tensor


class Listed(NamedTuple):
    """A part of a block's list."""

    part: Part
    receive: Callable[[Tensor], None]  # takes the entries' weights, summed over heads [B, K, m, c]


@dataclass
class Choices:
    """What one layer chose for one batch, in order."""

    chosen: list[tuple[int, int, Tensor]] = field(default_factory=list)  # level, group, positions [B, K, p]
    opened: list[tuple[int, Tensor]] = field(default_factory=list)  # block, units [B, K, m, units] bool


class SelectAttention(FmaAttention):
    """Groups are represented by p of their own tokens, exactly."""

    choices: Choices | None = None  # filled when there is one

    def attend(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Tensor:
        turns, settings = plan.turns, self.config.fma
        placed = turns.near(key)
        fine = TokenGroup.fine_groups(key, placed, value, settings.group_size)
        view = FarView(settings, plan.far.levels)
        archive = Archive(self.config, key, placed, value) if settings.open_units else None
        forms = (turns.near, turns.sink_query, turns.far, turns.distant)  # some are the same
        turned = {turn: self.query_blocks(turn(query)).unbind(2) for turn in dict.fromkeys(forms)}
        out = []
        for block, queries in enumerate(map(BlockQueries._make, zip(*(turned[turn] for turn in forms)))):
            chosen = view.advance(block, fine)
            opened = archive.open(block, queries.far, queries.distant) if archive and block >= 2 else None
            if self.choices is not None:
                self.choices.chosen += [(level, group, tokens.position) for level, group, tokens in chosen]
                self.choices.opened += [(block, opened.units)] if opened else []
            listed = [self._near(queries, fine[max(0, block - 1) : block + 1], plan)]
            if settings.sink_tokens and block >= 2:
                listed.append(self._sinks(queries, fine[0]))
            listed += self._far(queries, view, opened, plan)
            if opened:
                listed += [_opened(part, first, view) for part, first in opened.parts]
            out.append(_attend(listed, keep=plan.blocks_at_once >= plan.blocks))
        return torch.stack(out, 2)

    def _near(self, queries: BlockQueries, groups: list[TokenGroup], plan: SequencePlan) -> Listed:
        tokens, settings = TokenGroup.join(groups), self.config.fma
        count = tokens.position.shape[2]
        bias = plan.near_bias(slice(1, 2))[0, :, :, -count:]  # the same for every block except for a missing group
        distance = torch.arange(settings.group_size)[:, None] - torch.arange(-count, 0) - settings.group_size
        counted = (distance >= settings.lag).to(tokens.key.device)  # [m, c]
        part = Part(queries.near, tokens.placed, tokens.value, bias)
        return Listed(part, lambda weights: receive(groups, (weights * counted).sum(2)))

    def _sinks(self, queries: BlockQueries, first: TokenGroup) -> Listed:
        sinks = self.config.fma.sink_tokens
        key, value = self._far_keys(first)[:, :, :sinks], first.value[:, :, :sinks]
        return Listed(Part(queries.sinks, key, value, key.new_zeros(())), lambda weights: None)

    def _far(self, queries: BlockQueries, view: FarView, opened: Opened | None, plan: SequencePlan) -> list[Listed]:
        """Levels whose entries keep their positions, then those treated as max_distance away."""
        found = []
        for distant, query in ((False, queries.far), (True, queries.distant)):
            levels = [level for level in view.levels_in_view() if self.config.seems_distant(level) == distant]
            groups = [(level, group) for level in levels for group in view.groups(level)]
            if groups:
                tokens = TokenGroup.join([group for _, group in groups])
                entry_level = torch.tensor([level - 1 for level, _ in groups]).repeat_interleave(self.config.fma.rank)
                bias = self.far_bias(entry_level.to(query.device), plan)
                if opened:
                    bias = bias + opened.hides(tokens.position)
                key = tokens.key if distant else self._far_keys(tokens)
                found.append(_far(Part(query, key, tokens.value, bias), [group for _, group in groups]))
        return found

    def _far_keys(self, tokens: TokenGroup) -> Tensor:
        return tokens.placed if self.config.far_positions == "own" else tokens.key


def _far(part: Part, groups: list[TokenGroup]) -> Listed:
    return Listed(part, lambda weights: receive(groups, weights.sum(2)))


def _opened(part: Part, first: int, view: FarView) -> Listed:
    """A part of opened tokens, from `first` on: those that represent a group receive their weights."""
    return Listed(part, lambda weights: view.receive_at(weights.sum(2), first))


def _attend(listed: list[Listed], keep: bool) -> Tensor:
    """[B, K, R, m, d]; the tokens of every part receive their weights. Unless the scores are kept for the gradient,
    they are computed again."""
    parts = [entries.part for entries in listed]
    out, weights = attend(parts) if keep else checkpoint(attend, parts, use_reentrant=False)
    received = weights.detach().double().sum(2)  # over the heads of a KV head
    for entries, share in zip(listed, received.split([part.key.shape[2] for part in parts], -1)):
        entries.receive(share)
    return out
