"""AdamW for everything, or Muon for the matrices inside the layers and AdamW for the rest.

Muon (K. Jordan and others, 2024) takes the momentum's nearest orthogonal matrix as its step. It reaches a given loss
with fewer tokens than AdamW, which matters where tokens are scarce.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_ADAM_BETAS = (0.9, 0.95)
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5
_ADAM_RMS = 0.2  # the size of AdamW's usual step, which Muon's is scaled to, so both take one learning rate


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised steps, for matrices."""

    def __init__(self, params: list[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for params in _of_one_shape(group["params"]):
                steps = orthogonalise(torch.stack([self._momentum(param, group["momentum"]) for param in params]))
                for param, step in zip(params, steps):
                    param.mul_(1 - group["lr"] * group["weight_decay"])
                    param.add_(step, alpha=-group["lr"] * _ADAM_RMS * max(param.shape) ** 0.5)

    def _momentum(self, param: nn.Parameter, momentum: float) -> Tensor:
        """Adds the gradient to a parameter's momentum and returns the direction of its step (Nesterov)."""
        state = self.state[param]
        if not state:
            state["momentum"] = torch.zeros_like(param)
        buffer = state["momentum"]
        buffer.lerp_(param.grad, 1 - momentum)
        return torch.lerp(param.grad, buffer, momentum)


def _of_one_shape(params: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Parameters by shape: a GPU does a step's small products faster together."""
    found: dict[torch.Size, list[nn.Parameter]] = {}
    for param in params:
        found.setdefault(param.shape, []).append(param)
    return list(found.values())


def orthogonalise(matrices: Tensor) -> Tensor:
    """Approximates U V^T for each matrix U S V^T of [..., rows, columns], by Newton-Schulz iteration in bfloat16."""
    a, b, c = _NEWTON_SCHULZ
    x = (matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)).bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


def make_optimizers(model: nn.Module, kind: str, lr: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Optimizers of kind `adamw` or `muon`. Only matrices have weight decay."""
    inner: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, param in model.named_parameters():
        is_inner = kind == "muon" and name.endswith("_proj.weight")
        (inner if is_inner else matrices if name.endswith(("_proj.weight", "head.weight")) else others).append(param)
    fused = {"fused": True} if next(model.parameters()).is_cuda else {}  # one launch for all parameters
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=_ADAM_BETAS, **fused)
    ]
    if inner:
        optimizers.append(Muon(inner, lr=lr, weight_decay=weight_decay))
    return optimizers
