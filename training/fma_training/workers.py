"""The processes that train one model together: data parallelism under torchrun.

Every process draws the same whole batch and takes its share of the micro-batches, so the number of processes changes no
loss beyond rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Workers:
    """This process among all; torchrun's environment tells. Without it there is one."""

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        if self.count > 1:
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
            self._words = dist.new_group(backend="gloo")  # so that a number on the host need not wait for the device

    @property
    def first(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.count > 1:
            dist.barrier(group=self._words)

    def agree(self, number: float) -> float:
        """The first process's number: clocks differ, and what they decide must not."""
        if self.count == 1:
            return number
        said = torch.tensor([number], dtype=torch.float64)
        dist.broadcast(said, 0, group=self._words)
        return float(said)

    def sum(self, number: Tensor) -> Tensor:
        if self.count > 1:
            dist.all_reduce(number)
        return number

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Each gradient becomes the sum of those of all processes."""
        if self.count > 1:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            together = self.sum(nn.utils.parameters_to_vector(gradients))
            nn.utils.vector_to_parameters(together, gradients)

    def leave(self) -> None:
        if self.count > 1:
            dist.destroy_process_group()
