"""The learning rate's course: warm-up, a stable stretch, and a linear decay to zero."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The end is known only by what is left until then, so a resumed run may move it.

    `decay` and what is left have the same unit: steps, or minutes where the end is a time.
    """

    warmup_steps: int
    decay: float

    def factor(self, step: int, left: float) -> float:
        """The share of the peak learning rate at a step counted from 0."""
        return max(0.0, min(1.0, (step + 1) / (self.warmup_steps + 1), left / self.decay))
