"""Memory and time of one row's training step at one length, for compare.run: prints a JSON object.

    python3 -m compare.measure ROW LENGTH

A step is the forward and backward pass of one sequence. Time is the least processor time of some steps, on one thread.
Memory is the process's resident peak above what it held before the first step.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np
import torch
from fma_training.loss import language_model_loss
from fma_training.objective import make_objective

from . import recipe as recipes


def measure(name: str, length: int, steps: int) -> dict[str, float]:
    recipe = recipes.load(name)
    config = recipe.config(length)
    model = recipe.make_model(length)
    model.model.blocks_at_once = recipe.blocks_at_once
    rng = np.random.default_rng(0)
    windows = torch.from_numpy(rng.integers(0, 256, (1, length + 1)))
    questions = make_objective(config)(windows, rng)
    before, seconds = _peak_bytes(), []
    for _ in range(steps):
        began = time.process_time()
        hidden = questions.asked(model.model(questions.inputs))
        language_model_loss(hidden, model.head_weight, questions.answers.flatten()).backward()
        model.zero_grad(set_to_none=True)
        seconds.append(time.process_time() - began)
    return {"peak_bytes": _peak_bytes() - before, "seconds": min(seconds), "steps": steps}


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row")
    parser.add_argument("length", type=int)
    parser.add_argument("--steps", type=int, default=3, help="(default %(default)s)")
    parser.add_argument("--limit-gib", type=int, default=10, help="address space (default %(default)s)")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (arguments.limit_gib << 30, arguments.limit_gib << 30))
    try:
        found: dict[str, float | bool] = dict(measure(arguments.row, arguments.length, arguments.steps))
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error):
            raise
        found = {"too_large": True, "limit_gib": arguments.limit_gib}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
