"""The learning rate's course: warm-up, a stable stretch, and a linear decay to zero."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Only `steps` and `decay_steps` say where the end is, so a resumed run may move it."""

    warmup_steps: int
    steps: int
    decay_steps: int

    def factor(self, step: int) -> float:
        """The share of the peak learning rate at a step counted from 0."""
        warmup = (step + 1) / (self.warmup_steps + 1)
        decay = (self.steps - step) / (self.decay_steps + 1)
        return max(0.0, min(1.0, warmup, decay))
