"""The language-model loss without the logits of a whole batch in memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_TOKENS = 256
# A GPU needs larger chunks to be busy: 16,384 rows of 4,096 logits take 256 MiB.
GPU_CHUNK_TOKENS = 16384


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of hidden @ weight^T; gradients are computed in the forward pass, chunk by chunk."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        head = weight.to(hidden.dtype)
        hidden_grad = torch.empty_like(hidden)
        weight_grad = torch.zeros_like(weight)
        total = torch.zeros((), device=hidden.device)
        size = GPU_CHUNK_TOKENS if hidden.is_cuda else CHUNK_TOKENS
        for start in range(0, len(targets), size):
            chunk = slice(start, start + size)
            target = targets[chunk, None]
            log_probability = F.log_softmax((hidden[chunk] @ head.t()).float(), -1)
            total -= log_probability.gather(1, target).sum()
            grad = log_probability.exp_().scatter_add_(1, target, torch.full_like(target, -1, dtype=torch.float32))
            grad = grad.mul_(1 / len(targets)).to(hidden.dtype)
            hidden_grad[chunk] = grad @ head
            weight_grad += grad.t() @ hidden[chunk]
        ctx.save_for_backward(hidden_grad, weight_grad)
        return total / len(targets)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * grad, weight_grad * grad, None


def language_model_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean nats per token: hidden [n, D] (its type is the type of the products), weight [V, D], targets [n]."""
    return _ChunkedCrossEntropy.apply(hidden, weight, targets)
