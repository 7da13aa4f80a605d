"""A short loop of training for scene graphs in Python; `convnn generate train` is the Trainer's."""

import torch

from convnn.errors import check_at_least
from convnn.models.scene_graphs import SceneGraphDiffusion
from convnn.ops.scene_graphs import SceneGraphs


def train(
    model: SceneGraphDiffusion,
    graphs: SceneGraphs,
    *,
    steps: int,
    lr: float = 2e-4,
    batch_size: int = 32,
    seed: int = 0,
    shuffle_nodes: bool = False,
) -> list[float]:
    """Train by steps of Adam on random batches, and return the loss of each; the rate falls to 0 along a cosine.

    Args:
        model: the network, which changes.
        graphs: those of training.
        steps: number of steps.
        lr: first learning rate.
        batch_size: number of graphs of a step.
        seed: seed of batches and noise.
        shuffle_nodes: put the objects of each graph into a random order in each step.

    Raises:
        InputError: an argument is out of range.
    """
    check_at_least("steps", steps, 1)
    check_at_least("batch_size", batch_size, 1)
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for _ in range(steps):
        batch = graphs[torch.randint(len(graphs), (batch_size,), generator=generator, device=device)]
        optimizer.zero_grad()
        loss = model.loss(batch.shuffled(generator) if shuffle_nodes else batch, generator).total
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses
