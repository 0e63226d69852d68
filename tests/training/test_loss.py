"""The chunked loss against cross_entropy, with its gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from fma_training.loss import CHUNK_TOKENS, language_model_loss


def test_equals_cross_entropy() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(CHUNK_TOKENS + 7, 12, requires_grad=True)
    weight = torch.randn(31, 12, requires_grad=True)
    targets = torch.randint(0, 31, (len(hidden),))
    expected = F.cross_entropy(hidden @ weight.t(), targets)
    expected_grads = torch.autograd.grad(3 * expected, [hidden, weight])
    loss = language_model_loss(hidden, weight, targets)
    grads = torch.autograd.grad(3 * loss, [hidden, weight])
    assert torch.allclose(loss, expected, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(grads, expected_grads))
