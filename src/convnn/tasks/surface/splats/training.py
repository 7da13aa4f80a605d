"""Training of Gaussians on photographs by a loop of its own, for scenes in memory."""

import torch
from torch import nn

from convnn.errors import check_at_least, check_not_negative, check_positive
from convnn.models.splats.losses import splat_loss
from convnn.models.splats.rendering import look
from convnn.nn._training import trainings
from convnn.ops.photographs import Photographs


def train(
    model: nn.Module,
    scene: Photographs,
    *,
    steps: int,
    seed: int = 0,
    rate: float = 5e-3,
    dissimilarity: float = 0.2,
    volume: float = 0.01,
    distortion: float = 0.0,
    normals: float = 0.0,
    surface_from: float = 0.5,
) -> list[float]:
    """Train by Adam on one photograph a step, in random order, each once before any again; return the losses.

    Learning rates fall to a tenth, evenly in their logarithm. The anchors stay.

    Args:
        model: `AnchorGaussians` or `FreeGaussians`.
        scene: the photographs.
        steps: their number.
        seed: of the order.
        rate: learning rate of the networks; those of other parameters are multiples of it.
        dissimilarity, volume, distortion, normals: weights of the loss, as of `splat_loss`.
        surface_from: after which share of the steps the last two count.

    Raises:
        InputError: a setting is out of its range.
    """
    check_at_least("steps", steps, 1)
    check_positive("rate", rate)
    for name, weight in (("volume", volume), ("distortion", distortion), ("normals", normals)):
        check_not_negative(name, weight)
    groups = [{"params": [p], "lr": rate * how.factor} for p, how in trainings(model) if how.factor]
    optimizer = torch.optim.Adam(groups, eps=1e-15)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1 ** (1 / steps))
    generator, views = torch.Generator().manual_seed(seed), len(scene.images)
    losses: list[float] = []
    order: list[int] = []
    for step in range(steps):
        order = order or torch.randperm(views, generator=generator).tolist()
        one = scene.camera(order.pop())
        seen, found = look(model, one.rig, scene.background)
        late = step >= surface_from * steps
        weights = {"distortion": distortion * late, "normals": normals * late}
        loss = splat_loss(
            seen, one.images, found.gaussians.scales, one.rig, dissimilarity=dissimilarity, volume=volume, **weights
        ).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses
