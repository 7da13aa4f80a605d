"""How deep kernel machines learn: steps of Adam up their objective."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

DROPS = (0.4, 0.8)  # after these shares of the steps, they are a tenth as long


def ascend(
    network: nn.Module,
    objective: Callable[[], Tensor],
    *,
    steps: int,
    lr: float,
    betas: tuple[float, float],
    report: Callable[[str], None],
) -> list[float]:
    """Maximise an objective over the parameters of a network and return its value before each step.

    Args:
        network: what learns; it keeps the parameters of the last step.
        objective: a function without arguments.
        steps: how many.
        lr: their length, at first.
        betas: of Adam.
        report: what to do with messages.
    """
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr, betas)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [max(1, round(drop * steps)) for drop in DROPS])
    values = []
    for step in range(steps):
        optimizer.zero_grad()
        value = objective()
        (-value).backward()
        optimizer.step()
        schedule.step()
        values.append(value.item())
        if step % max(1, steps // 10) == 0:
            report(f"step {step}: objective {values[-1]:.4f}")
    return values


def batches(count: int, size: int, draws: np.random.RandomState) -> Iterator[Tensor]:
    """Yield batches of numbers below `count` without end, in a new order each time all have been there."""
    while True:
        order = torch.from_numpy(draws.permutation(count))
        yield from order.split(size)
