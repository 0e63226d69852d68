"""Memory and time of one row's training step at one length.

A step is the forward and backward pass of one sequence. All rows have MLPs of one width here: weights that grow with
the context would leave them nothing of an equal number of parameters. Time is the least processor time of some steps,
on one thread. Memory is the resident peak of a process of its own above what it held before its only step, with an
allocator that gives large blocks back at once, so it is what the step needs.
"""

from __future__ import annotations

import ctypes
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from fma_training.loss import language_model_loss
from fma_training.objective import make_objective

from .recipe import Recipe

STEPS = 2
LARGE_BLOCK = 1 << 16  # bytes
_M_MMAP_THRESHOLD = -3


def measure(recipe: Recipe, length: int, limit_gib: int) -> dict[str, Any]:
    """`too_large` where a step does not fit the limit of a process's address space."""
    found: dict[str, Any] = {"recipe": recipe.name, "length": length}
    for what in (_seconds, _peak):
        with ProcessPoolExecutor(1, get_context("fork")) as own:  # forked, so that PyTorch is not loaded once more
            found |= own.submit(_limited, what, recipe, length, limit_gib).result()
        if "too_large" in found:
            break
    return found


def _limited(
    what: Callable[[Recipe, int], dict[str, Any]], recipe: Recipe, length: int, limit_gib: int
) -> dict[str, Any]:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (limit_gib << 30, limit_gib << 30))
    try:
        return what(recipe, length)
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error):
            raise
        return {"too_large": True, "limit_gib": limit_gib}


def _seconds(recipe: Recipe, length: int) -> dict[str, Any]:
    step, seconds = _step(recipe, length), []
    for _ in range(STEPS):
        began = time.process_time()
        step()
        seconds.append(time.process_time() - began)
    return {"seconds": min(seconds)}


def _peak(recipe: Recipe, length: int) -> dict[str, Any]:
    # By default glibc keeps large blocks that were freed, and then counts holes that nothing fits.
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
    step, before = _step(recipe, length), _peak_bytes()
    step()
    return {"peak_bytes": _peak_bytes() - before}


def _step(recipe: Recipe, length: int) -> Callable[[], None]:
    model = recipe.make_wide_model(length)
    model.model.blocks_at_once = recipe.blocks_at_once
    rng = np.random.default_rng(0)
    windows = torch.from_numpy(rng.integers(0, 256, (1, length + 1)))
    questions = make_objective(model.config)(windows, rng)

    def step() -> None:
        hidden = questions.asked(model.model(questions.inputs))
        language_model_loss(hidden, model.head_weight, questions.answers.flatten()).backward()
        model.zero_grad(set_to_none=True)

    return step


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
