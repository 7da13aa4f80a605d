"""Short training on graphs, all nodes at once."""

import copy
import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it calls functions that newer torch deprecates
    from torch_geometric import nn as geometric  # noqa: F401 (for the claims)

Scores = tuple[float, float]
"""A validation score, and the test score at that moment."""


def descend(
    network: nn.Module,
    loss: Callable[[], Tensor],
    *,
    steps: int,
    lr: float,
    weight_decay: float = 0.0,
    cosine: bool = False,
    watch: Callable[[], Scores] | None = None,
) -> float:
    """Take steps of Adam on all data.

    Where scores are watched, the network is left as it was at the best validation score, whose test score is returned.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if cosine else None
    best: Scores = (-math.inf, math.nan)
    kept = None
    for _ in range(steps):
        network.train()
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        if watch is not None:
            network.eval()
            with torch.no_grad():
                scores = watch()
            if scores[0] > best[0]:
                best, kept = scores, copy.deepcopy(network.state_dict())
    if kept is not None:
        network.load_state_dict(kept)
    network.eval()
    return best[1]


def right(logits: Tensor, labels: Tensor) -> float:
    """Return the share of nodes whose largest logit is their label's, in percent."""
    return 100 * (logits.argmax(1) == labels).double().mean().item()


def watching(logits: Callable[[], Tensor], labels: Tensor, valid: Tensor, test: Tensor) -> Callable[[], Scores]:
    """Return the function that scores the logits of all nodes on those for validation and for the test."""

    def watch() -> Scores:
        found = logits()
        return right(found[valid], labels[valid]), right(found[test], labels[test])

    return watch


def random_graph(likely: Tensor, generator: torch.Generator) -> Tensor:
    """Return the edges, both ways, of a graph that has each pair with the probability (N, N) `likely`."""
    pairs = (torch.rand(likely.shape, generator=generator) < likely).triu(1)
    return (pairs | pairs.T).nonzero().T.contiguous()
