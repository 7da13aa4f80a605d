"""How deep kernel machines learn: steps of Adam up their objective."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from convnn.errors import check_at_least, check_positive
from convnn.learners.base import Learner
from convnn.learners.deep.output import Functions

DROPS = (0.6, 0.9)  # after these shares of the steps, they are a tenth as long
BETAS = (0.8, 0.9)  # of Adam, on batches, as published


class Ascending(Learner):
    """Base of the learners whose network goes up an objective.

    Attributes:
        network_: the module from points or images to functions.
        objectives_: the objective before each step.
        n_iter_: steps taken.
    """

    max_iter: int
    lr: float
    batch_size: int
    network_: nn.Sequential
    objectives_: list[float]
    n_iter_: int

    def _check_steps(self) -> None:
        check_at_least("max_iter", self.max_iter, 1)
        check_at_least("batch_size", self.batch_size, 1)
        check_positive("lr", self.lr)

    def _ascend(self, objective: Callable[[], Tensor], betas: tuple[float, float] = BETAS) -> None:
        """Take `max_iter` steps of the network's parameters up an objective, and set its values."""
        optimizer = torch.optim.Adam([p for p in self.network_.parameters() if p.requires_grad], self.lr, betas)
        drops = [max(1, round(drop * self.max_iter)) for drop in DROPS]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, drops)
        self.objectives_, self.n_iter_ = [], self.max_iter
        for step in range(self.max_iter):
            optimizer.zero_grad()
            value = objective()
            (-value).backward()
            optimizer.step()
            schedule.step()
            self.objectives_.append(value.item())
            if step % max(1, self.max_iter // 10) == 0:
                self._report(f"step {step}: objective {value.item():.4f}")

    def _evaluate(self, inputs: Tensor) -> Functions:
        """Return the functions at points or images, batch by batch."""
        with torch.no_grad():
            found = [self.network_(part) for part in inputs.split(self.batch_size)]
        mean, variance = (torch.cat([one[i] for one in found]) for i in (0, 1))
        return Functions(mean, variance, found[0].cost)


def batches(count: int, size: int, draws: np.random.RandomState) -> Iterator[Tensor]:
    """Yield batches of numbers below `count` without end, in a new order each time all have been there."""
    while True:
        order = torch.from_numpy(draws.permutation(count))
        yield from order.split(size)
