"""Training of a codec in stages, on new clips in every step."""

from collections.abc import Callable

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_positive
from convnn.models.coding import VideoCodec

STAGES = (0.15, 0.1, 0.15, 0.6)
"""The share of the steps in each stage: motion, frames, their bits, and everything."""


def train(
    codec: VideoCodec,
    draw: Callable[[int], Tensor],
    *,
    steps: int,
    lmbda: float = 256.0,
    lr: float = 2e-3,
    batch_size: int = 4,
    stages: tuple[float, ...] = STAGES,
) -> list[float]:
    """Train by Adam, whose learning rate falls along a cosine, and return the losses.

    Args:
        codec: the network.
        draw: function of a number that returns so many new clips (B, T, 3, H, W).
        steps: of all stages together, at least one.
        lmbda: how many bits of a pixel a mean squared error of 1 is worth.
        lr: the first learning rate.
        batch_size: clips of a step.
        stages: the share of the steps in stages 1 to 4, see `DCVC.loss`; they sum to 1.

    Raises:
        InputError: a number is out of range, or the shares are not four that sum to 1.
    """
    check_at_least("steps", steps, 1)
    check_at_least("batch_size", batch_size, 1)
    check_positive("lr", lr)
    if len(stages) != 4 or min(stages) < 0 or abs(sum(stages) - 1) > 1e-9:
        raise InputError(f"stages={stages} must be four shares that sum to 1")
    ends = torch.tensor(stages).cumsum(0) * steps
    optimizer = torch.optim.Adam(codec.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    codec.train()
    for step in range(steps):
        stage = min(4, 1 + int((step >= ends).sum()))
        codec.set_stage(stage)
        optimizer.zero_grad()
        loss = codec.loss(draw(batch_size), lmbda, stage)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    codec.set_stage(4)
    return losses
