"""Which tokens stand for the groups of the far field ("Selected tokens" of the definition).

Shapes: B sequences, K key/value heads, c tokens of a group, d channels. Choices are made without gradients, from
attention received (A) and novelty (N); gradients flow through the chosen tokens' keys and values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .settings import FmaSettings

_RIDGE = 0.1
_NO_SPREAD = 1e-10
_NOVELTY_STEPS = 1024


@dataclass(frozen=True)
class TokenGroup:
    """Some tokens of every KV head, in order of position. `received` grows in place."""

    key: Tensor  # [B, K, c, d] unrotated
    placed: Tensor  # [B, K, c, d] rotated by position, under rope
    value: Tensor  # [B, K, c, d]
    position: Tensor  # [B, K, c] integers
    received: Tensor  # [B, K, c] float64, A
    novelty: Tensor  # [B, K, c] float64, N

    @staticmethod
    def fine_groups(key: Tensor, placed: Tensor, value: Tensor, group_size: int) -> list[TokenGroup]:
        """The fine groups of whole sequences [B, K, N, d], with nothing received and no novelty yet."""
        position = torch.arange(key.shape[2], device=key.device).expand(key.shape[:3])
        none = torch.zeros(key.shape[:3], dtype=torch.float64, device=key.device)
        columns = (key, placed, value, position, none, none.clone())
        groups = zip(*(column.unflatten(2, (-1, group_size)).unbind(2) for column in columns))
        return [TokenGroup(*group) for group in groups]

    def take(self, index: Tensor) -> TokenGroup:
        """The tokens at `index` [B, K, new c]."""
        vectors = index[..., None].expand(-1, -1, -1, self.key.shape[3])
        return TokenGroup(
            *(x.gather(2, vectors) for x in (self.key, self.placed, self.value)),
            *(x.gather(2, index) for x in (self.position, self.received, self.novelty)),
        )

    @staticmethod
    def join(groups: list[TokenGroup]) -> TokenGroup:
        """Copies of groups, one after the other."""
        return TokenGroup(*(torch.cat(columns, 2) for columns in zip(*(vars(group).values() for group in groups))))


class FarView:
    """The groups in view at every level: g_l - 2 and, when g_l is odd, g_l - 3."""

    def __init__(self, settings: FmaSettings, levels: int) -> None:
        self.settings = settings
        self.levels: list[list[TokenGroup]] = [[] for _ in range(levels)]  # older first

    def advance(self, block: int, fine: list[TokenGroup]) -> list[tuple[int, int, TokenGroup]]:
        """Moves to the first token of fine group `block`. Returns the groups that come into view, as level, group,
        tokens.

        The coarsest level goes first: it is made of what the next finer level has in view before this move.
        """
        entered = []
        for level in range(len(self.levels), 0, -1):
            own, rest = divmod(block, 1 << (level - 1))
            group = own - 2
            if rest == 0 and group >= 0:
                candidates = self._candidates(level, group, fine)
                chosen = candidates.take(choose(candidates, self.settings.rank, self.settings.novel))
                older = self.levels[level - 1] if group % 2 else []
                self.levels[level - 1] = [*older, chosen]
                entered.append((level, group, chosen))
        return entered

    def levels_in_view(self) -> list[int]:
        return [level for level, groups in enumerate(self.levels, 1) if groups]

    def groups(self, level: int) -> list[TokenGroup]:
        return self.levels[level - 1]

    def receive_at(self, weights: Tensor, first: int) -> None:
        """Adds the weights [B, K, c] of tokens from position `first` on to those of them that are in view."""
        for group in (group for groups in self.levels for group in groups):
            place = group.position - first
            known = (place >= 0) & (place < weights.shape[2])
            group.received.add_(weights.gather(2, place.clamp(0, weights.shape[2] - 1)) * known)

    def _candidates(self, level: int, group: int, fine: list[TokenGroup]) -> TokenGroup:
        if level > 1:
            return TokenGroup.join(self.levels[level - 2])
        sinks = self.settings.sink_tokens if group == 0 else 0
        tokens = fine[group]
        if self.settings.novel:
            tokens.novelty.copy_(novelty(tokens.key))
        return TokenGroup(*(x[:, :, sinks:] for x in vars(tokens).values()))


def receive(groups: list[TokenGroup], weights: Tensor) -> None:
    """Adds the weights [B, K, all tokens] of this block to what the tokens have received."""
    for group, share in zip(groups, weights.split([group.received.shape[2] for group in groups], 2)):
        group.received.add_(share)


@torch.no_grad()
def choose(candidates: TokenGroup, rank: int, novel: int) -> Tensor:
    """The places [B, K, rank] of the chosen candidates, in order: first by what they received, then `novel` of the
    rest by novelty; of equals the earlier."""
    asked_for = _largest(candidates.received, rank - novel)
    rest = candidates.novelty.scatter(2, asked_for, -torch.inf)
    return torch.cat([asked_for, _largest(rest, novel)], 2).sort(2).values


def _largest(x: Tensor, count: int) -> Tensor:
    """The places of the `count` largest of x [..., n]; of equals the earlier."""
    return x.sort(dim=-1, descending=True, stable=True).indices[..., :count]


@torch.no_grad()
def novelty(key: Tensor) -> Tensor:
    """N: the leverage [B, K, m] of each key in its group [B, K, m, d], rounded so that equal keys are equals."""
    key = key.double()
    x = key - key.mean(2, keepdim=True)
    spread = x.transpose(2, 3) @ x / x.shape[2]  # S
    mean = spread.diagonal(dim1=-2, dim2=-1).mean(-1)  # mu
    alike = mean <= _NO_SPREAD * key.square().mean((2, 3))
    ridge = torch.where(alike, 1.0, _RIDGE * mean)[..., None, None] * torch.eye(x.shape[3]).to(x)
    factor = torch.linalg.cholesky(spread + ridge)
    solved = torch.cholesky_solve(x.transpose(2, 3), factor)  # [B, K, d, m]
    leverage = (x.transpose(2, 3) * solved).sum(2)
    return torch.where(alike[..., None], 0.0, (leverage * _NOVELTY_STEPS).round() / _NOVELTY_STEPS)
