"""AdamW for everything, or Muon for the matrices inside the layers and AdamW for the rest.

Muon (K. Jordan and others, 2024) takes the momentum's nearest orthogonal matrix as its step. It needs
fewer tokens than AdamW to reach a loss, which is what counts where tokens are dear.
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
            for param in group["params"]:
                state = self.state[param]
                if not state:
                    state["momentum"] = torch.zeros_like(param)
                buffer = state["momentum"]
                buffer.lerp_(param.grad, 1 - group["momentum"])
                direction = orthogonalise(torch.lerp(param.grad, buffer, group["momentum"]))  # Nesterov
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.add_(direction, alpha=-group["lr"] * _ADAM_RMS * max(param.shape) ** 0.5)


def orthogonalise(matrix: Tensor) -> Tensor:
    """About U V^T of a matrix U S V^T, by Newton-Schulz iteration in bfloat16."""
    a, b, c = _NEWTON_SCHULZ
    x = (matrix / (matrix.norm() + 1e-7)).bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.t() if tall else x
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.t()
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.t() if tall else x).to(matrix.dtype)


def make_optimizers(model: nn.Module, kind: str, lr: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Optimizers of kind `adamw` or `muon`. Weight decay is for matrices; the rest is free."""
    inner: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, param in model.named_parameters():
        is_inner = kind == "muon" and name.endswith("_proj.weight")
        (inner if is_inner else matrices if name.endswith(("_proj.weight", "head.weight")) else others).append(param)
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=_ADAM_BETAS)
    ]
    if inner:
        optimizers.append(Muon(inner, lr=lr, weight_decay=weight_decay))
    return optimizers
